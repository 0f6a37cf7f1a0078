"""Imports: contacts and conversations of other systems, and of our own exports."""
