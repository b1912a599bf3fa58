"""The attempt: pooled connections, provider types and their quirks, credentials, timeouts and cancellation."""
