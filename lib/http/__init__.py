"""Requests and responses: the application of a function, CORS, request bodies, streaming."""
