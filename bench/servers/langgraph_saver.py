"""LangGraph with its Postgres saver, as its documentation shows it: a graph of one node that calls the model, streamed.

The default durability ("async") writes checkpoints while the graph runs.

    python -m bench.servers.langgraph_saver DATABASE_URL MODEL_URL [together]
"""

import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import uvloop
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.servers import library

_ROLES = {"human": "user", "ai": "assistant"}


async def serve(database_url: str, model_url: str, *options: str) -> None:
    """Serve until SIGTERM, with a pool of at most 10 connections."""
    model = library.Model(model_url, together="together" in options)

    async def call_model(state: Any) -> dict[str, Any]:
        write, tokens = get_stream_writer(), []
        messages = [{"role": _ROLES[message.type], "content": message.content} for message in state["messages"]]
        async for token in model.stream(messages):
            write(token)
            tokens.append(token)
        return {"messages": [AIMessage("".join(tokens))]}

    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(database_url, min_size=1, max_size=10, kwargs=settings, open=False) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        builder = StateGraph(MessagesState)
        builder.add_node("model", call_model)
        builder.add_edge(START, "model")
        builder.add_edge("model", END)
        graph = builder.compile(checkpointer=saver)

        def answer(thread_id: UUID, message: str, _: bool) -> AsyncIterator[str]:
            config = {"configurable": {"thread_id": str(thread_id)}}
            tokens: AsyncIterator[str] = graph.astream(
                {"messages": [HumanMessage(message)]}, config, stream_mode="custom"
            )
            return tokens

        await library.serve(answer)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
