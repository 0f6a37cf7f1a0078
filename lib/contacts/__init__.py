"""Contacts: registration, lookup, merges, timeline."""
