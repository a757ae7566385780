"""Tasks that need nothing of each other, done by several processes."""
