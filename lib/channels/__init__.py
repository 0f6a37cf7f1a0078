"""Channels: conversations in messengers."""
