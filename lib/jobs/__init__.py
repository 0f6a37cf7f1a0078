"""Jobs: background work from the queue."""
