"""The client side: the HTTP front, what it refuses, the routes beside completions, health, workers and shutdown."""
