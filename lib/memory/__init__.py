"""Memory: what is remembered about contacts and known by personas."""
