"""Benchmarks of tf_lottery: `python -m benchmarks --help`."""
