"""Chainlit's SQLAlchemyDataLayer, its thread read with get_thread each turn, as a process that keeps nothing has to."""

import contextlib

from bench.cost.systems import chainlit_layer
from bench.cost.worker import Settings


def open_system(settings: Settings) -> "contextlib.AbstractAsyncContextManager[chainlit_layer._Chainlit]":
    """The same layer, with the history out of the database."""
    return chainlit_layer.open_system(settings, read_thread=True)
