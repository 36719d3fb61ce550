"""Benchmarks: ``python -m benchmarks.NAME [--quick]`` prints a table and writes ``results/NAME.json``."""
