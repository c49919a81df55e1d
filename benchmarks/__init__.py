"""Measurements; run each with python -m benchmarks.NAME from the root of the repository."""
