"""Commands: SQL functions, called on behalf of a caller."""
