"""Servers of asyncio for tests that are not: in a thread with a loop of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
TIMEOUT_S = 60.0


@contextmanager
def in_background(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    entered = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(TIMEOUT_S)
    try:
        yield entered
    finally:
        left = context.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(left, loop).result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()
