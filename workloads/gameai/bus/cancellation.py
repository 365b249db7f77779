"""asyncio: ends a task whose cancellation was lost."""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError in a task that was cancelled and has gone on.

    `asyncio.wait_for` of Python 3.11 drops a cancellation that comes together with the answer it waits for, and the client of
    NATS waits so for each request. A loop around such requests would not end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
