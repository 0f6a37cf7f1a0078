"""The HTTP functions over a running stack."""
