"""Conversations: the live stream of messages, and follow-ups from other channels."""
