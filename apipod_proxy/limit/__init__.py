"""May it go: token buckets, calendar windows and gauges, taken as leases that settle exactly once.

model       what is counted, and what an admission says
buckets     the arithmetic (pure)
estimate    how much to reserve before the answer is known (pure)
backend     the interface of the two back ends
memory      in this process
redis       in a Redis that several processes share; limits.lua is the arithmetic there, wire the connection
pace        waiting for room, and the budgets of repeats, hedges and probes
"""
