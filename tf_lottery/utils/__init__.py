"""Checks of arguments, kinds of layers, backends, shared types and words."""
