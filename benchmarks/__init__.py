"""Measurements: python -m benchmarks for all of them, python -m benchmarks.NAME for one, from the root of the repository."""
