"""Benchmarks of tf_lottery: `cd tests; python -m benchmarks --help`."""
