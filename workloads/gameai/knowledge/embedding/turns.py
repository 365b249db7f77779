"""EDGE: a few threads for the work of many accounts, which take turns."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_Piece = tuple[Callable[[], Any], asyncio.Future[Any]]


_Outcome = tuple[Any, Exception | None]


class NoPlaceError(Exception):
    """As many pieces of work wait as may, of one account or of all."""


class Turns:
    """Work beside the event loop. At most `most` pieces wait or run, `most_of_account` of one account. When all places are taken, an account that has none still gets one.

    One account after the other has a piece of its work done, so that none waits for all work of another. With several
    `workers` an account has at most half of them.
    """

    def __init__(self, name: str, *, most: int, most_of_account: int, workers: int = 1) -> None:
        """`workers`: pieces that run at a time."""
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)
        self._workers = workers
        self._most, self._most_of_account = most, most_of_account
        # In the order of their turns.
        self._waiting: dict[str, deque[_Piece]] = {}
        self._places: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._closed = False

    def submit(self, account: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """The result of some work for an account (empty: callers are not known, and share all places).

        Work whose result is cancelled before its turn is not done. Raises `NoPlaceError`.
        """
        most = self._most_of_account if account else self._most
        mine = self._places[account]
        # An account without any work has a place also where others have taken all.
        full = self._places.total() >= self._most and (mine > 0 or not account)
        if self._closed or full or mine >= most:
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
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        while (account := self._next()) is not None:
            pieces = self._waiting.pop(account)
            work, result = pieces.popleft()
            if pieces:
                self._waiting[account] = pieces
            if result.cancelled():
                self._leave(account)
                continue
            try:
                running = asyncio.get_running_loop().run_in_executor(self._threads, _tried, work)
            except RuntimeError as error:
                # No thread can be started now.
                self._leave(account)
                result.set_exception(error)
                continue
            self._running[account] += 1
            running.add_done_callback(partial(self._ended, account, result))

    def _next(self) -> str | None:
        """The account whose turn it is; None while all workers are busy, or those that it may have."""
        if self._running.total() >= self._workers:
            return None
        share = max(1, self._workers // 2)
        # Callers that are not known share all workers.
        return next(
            (each for each in self._waiting if not each or self._running[each] < share), None
        )

    def _ended(
        self, account: str, result: asyncio.Future[Any], running: asyncio.Future[_Outcome]
    ) -> None:
        self._running[account] -= 1
        self._leave(account)
        if running.cancelled():
            result.cancel()
        elif not result.done():
            value, error = running.result()
            if error is None:
                result.set_result(value)
            else:
                result.set_exception(error)
        self._begin()

    def _leave(self, account: str) -> None:
        self._places[account] -= 1
        if not self._places[account]:
            del self._places[account], self._running[account]


def _tried(work: Callable[[], Any]) -> _Outcome:
    """What comes of some work. A future takes no StopIteration, and would never end."""
    try:
        return work(), None
    except StopIteration as error:
        return None, RuntimeError(f"the work ended early: {error!r}")
    except Exception as error:  # noqa: BLE001 - it is the caller's
        return None, error
