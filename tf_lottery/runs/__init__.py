"""Runs: their directories and files, rounds, results and tickets."""
