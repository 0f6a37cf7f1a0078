"""Turns: a message, the persona's answer, and the stream that carries it."""
