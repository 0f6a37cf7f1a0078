"""Calls to addresses that a workspace configures."""
