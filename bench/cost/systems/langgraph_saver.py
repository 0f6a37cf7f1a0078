"""LangGraph with its Postgres saver: a graph of one node that calls the model, streamed, checkpointed by thread.

As its documentation has it: `AsyncPostgresSaver` over a pool with autocommit, `MessagesState`, the tokens out of the
node through the stream writer. The default durability ("async") writes checkpoints while the graph goes on.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.cost.systems.completions import Completions
from bench.cost.systems.library import Library
from bench.cost.worker import Settings

_ROLES = {"human": "user", "ai": "assistant"}


class _Chat(Library):
    def __init__(self, graph: Any, model: Completions, durability: str) -> None:
        super().__init__(model)
        self._graph = graph
        self._durability = durability
        self._thread_id = ""

    async def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        if new_thread:
            self._thread_id = str(uuid.uuid4())
        async for token in self._graph.astream(
            {"messages": [HumanMessage(message)]},
            {"configurable": {"thread_id": self._thread_id}},
            stream_mode="custom",
            durability=self._durability,
        ):
            yield token


class _LangGraph:
    def __init__(self, graph: Any, model: Completions, durability: str) -> None:
        self._graph = graph
        self._model = model
        self._durability = durability
        names = ("langgraph", "langgraph-checkpoint-postgres", "psycopg")
        self.versions = {name: version(name) for name in names}

    async def chat(self) -> _Chat:
        return _Chat(self._graph, self._model, self._durability)


@contextlib.asynccontextmanager
async def open_system(settings: Settings, durability: str = "async") -> AsyncIterator[_LangGraph]:
    """Make the saver's tables and compile the graph."""
    model = Completions(settings.model_url)

    async def answer(state: Any) -> dict[str, Any]:
        say, tokens = get_stream_writer(), []
        messages = [{"role": _ROLES[said.type], "content": said.content} for said in state["messages"]]
        async for token in model.stream(messages):
            say(token)
            tokens.append(token)
        return {"messages": [AIMessage("".join(tokens))]}

    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(settings.database_url, min_size=1, max_size=10, kwargs=options, open=False) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        builder = StateGraph(MessagesState)
        builder.add_node("answer", answer)
        builder.add_edge(START, "answer")
        builder.add_edge("answer", END)
        yield _LangGraph(builder.compile(checkpointer=saver), model, durability)
        await model.close()
