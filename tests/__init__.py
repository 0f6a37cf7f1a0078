"""Tests, run from the repository's root."""
