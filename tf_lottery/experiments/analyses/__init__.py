"""Analyses of a run that is there: measured, kept and put into files."""
