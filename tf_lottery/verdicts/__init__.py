"""Verdicts: whether a ticket wins, over trials, and in which words."""
