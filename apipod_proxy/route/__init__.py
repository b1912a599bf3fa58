"""Which upstream: names to plans, plans to candidates, and what failures say about them. Pure: clocks and randomness are arguments.

``index`` turns a snapshot into plans, ``router`` draws candidates from a plan, ``health`` remembers what became of them,
``classify`` says what a failure means, ``backoff`` and ``hedge`` when to ask once more, ``explain`` why it went that way.
"""
