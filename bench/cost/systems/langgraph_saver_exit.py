"""LangGraph with its Postgres saver and durability="exit": saved once, when the graph ends."""

import contextlib

from bench.cost.systems import langgraph_saver
from bench.cost.worker import Settings


def open_system(settings: Settings) -> "contextlib.AbstractAsyncContextManager[langgraph_saver._LangGraph]":
    """The same graph, saved at its end."""
    return langgraph_saver.open_system(settings, "exit")
