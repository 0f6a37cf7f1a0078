"""The operators' commands: `switchboard`, which sets workspaces up with the service key."""
