"""Jobs: tasks that need nothing of each other, in several processes."""
