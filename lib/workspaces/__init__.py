"""Workspaces: members, spaces, personas."""
