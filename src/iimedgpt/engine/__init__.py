"""The engine: shared prefixes read once. The only ring that knows torch."""
