"""What other gateways were configured with, as a catalog: one module for each source, text or rows in, a catalog file's tree out."""
