"""sse-starlette: an ``EventSourceResponse`` over an ``asyncio.Queue`` for each client."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .events import Work

listeners: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def events(request: Request) -> EventSourceResponse:
    """Stream one channel."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    channel = listeners[request.query_params["channel"]]
    # Before the response begins, so that nothing is missed after its header.
    channel.add(queue)

    async def stream() -> AsyncIterator[dict[str, str]]:
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            channel.discard(queue)

    return EventSourceResponse(stream())


def publish(data: str, channel: str) -> None:
    """Hand an event to all who listen now."""
    for queue in listeners[channel]:
        queue.put_nowait(data)


async def publish_events(request: Request) -> JSONResponse:
    """Publish as the query says."""
    work = Work(request.query_params)
    while not work.is_over():
        work.publish(publish)
        await asyncio.sleep(work.pause())
    return JSONResponse(work.answer())


app = Starlette(routes=[Route("/events", events), Route("/publish", publish_events, methods=["POST"])])
