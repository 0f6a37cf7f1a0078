"""Measures of this project: cost of a turn, cold starts, growth of the database, replay of dialogues."""
