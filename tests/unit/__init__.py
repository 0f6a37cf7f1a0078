"""Modules of lib/, one file each."""
