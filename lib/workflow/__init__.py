"""Workflow: the requests, quotes and proposals that a session works towards."""
