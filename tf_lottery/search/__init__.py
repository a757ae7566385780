"""Search: what each part of a model may lose, and what that changes."""
