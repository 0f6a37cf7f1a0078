"""Faults: the parts of a running stack are killed under load, and an independent checker judges what is left."""
