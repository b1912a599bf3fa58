"""What may be served: providers, models, subscriptions and keys, as one immutable snapshot that is replaced whole."""
