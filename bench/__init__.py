"""Benchmarks against other engines; `python -m bench` prints the tables."""
