"""The commands: `switchboard`, which sets workspaces up with the service key, and chats over the HTTP API."""
