"""What a request cost: its row and charge, prices, the outbox and its batched writer, counters, and the line in the log."""
