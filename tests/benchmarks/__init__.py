"""Benchmarks of tf_lottery: `python -m tests.benchmarks --help`."""
