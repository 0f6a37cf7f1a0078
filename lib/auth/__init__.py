"""Callers and tokens: who calls, and the tokens that the functions verify and sign."""
