"""Exports: a zip with everything of a contact, a session or a workspace."""
