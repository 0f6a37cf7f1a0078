"""Servers for the kinds of personas that call out."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI


@pytest_asyncio.fixture
async def n8n() -> AsyncIterator[N8n]:
    """An n8n whose workflows answer as the real one's do."""
    async with N8n() as running:
        yield running


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAI]:
    """A model's server."""
    async with OpenAI() as running:
        yield running
