"""Devices: wearables, the users whom they belong to, and their sessions."""
