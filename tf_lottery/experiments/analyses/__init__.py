"""Analyses of an existing run: measured, kept and put into files."""
