"""EDGE: one thread for the work of many accounts, which take turns."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_Piece = tuple[Callable[[], Any], asyncio.Future[Any]]


class NoPlaceError(Exception):
    """As many pieces of work wait as may, of one account or of all."""


class Turns:
    """Work beside the event loop. At most `most` pieces wait or run, `most_of_account` of one account.

    One account after the other has a piece of its work done, so that none waits for all work of another.
    """

    def __init__(self, name: str, *, most: int, most_of_account: int) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._most, self._most_of_account = most, most_of_account
        # In the order of their turns.
        self._waiting: dict[str, deque[_Piece]] = {}
        self._places: Counter[str] = Counter()
        self._works = False
        self._closed = False

    def submit(self, account: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """The result of some work for an account (empty: callers are not known, and share all places).

        Work whose result is cancelled before its turn is not done. Raises `NoPlaceError`.
        """
        most = self._most_of_account if account else self._most
        if self._closed or self._places[account] >= most or self._places.total() >= self._most:
            raise NoPlaceError
        self._places[account] += 1
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append((work, result))
        self._begin()
        return result

    def close(self) -> None:
        """Begin no more work, and wait for none."""
        self._closed = True
        for _, result in (each for pieces in self._waiting.values() for each in pieces):
            result.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        while self._waiting and not self._works:
            account = next(iter(self._waiting))
            pieces = self._waiting.pop(account)
            work, result = pieces.popleft()
            if pieces:
                self._waiting[account] = pieces
            if result.cancelled():
                self._leave(account)
                continue
            self._works = True
            running = asyncio.get_running_loop().run_in_executor(self._thread, work)
            running.add_done_callback(partial(self._ended, account, result))

    def _ended(
        self, account: str, result: asyncio.Future[Any], running: asyncio.Future[Any]
    ) -> None:
        self._works = False
        self._leave(account)
        error = None if running.cancelled() else running.exception()
        if result.done():
            pass
        elif running.cancelled():
            result.cancel()
        elif error is not None:
            result.set_exception(error)
        else:
            result.set_result(running.result())
        self._begin()

    def _leave(self, account: str) -> None:
        self._places[account] -= 1
        if not self._places[account]:
            del self._places[account]
