"""The Model Context Protocol: what programs with language models call, as tools."""
