"""What a workspace's growth costs: the same calls on a small and on a large database, in buffers and time."""
