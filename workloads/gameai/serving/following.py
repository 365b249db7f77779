"""A file that changes while a process runs: read now and then, in a thread, and taken up again and again."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def follow(
    read: Callable[[], T],
    take: Callable[[T], None],
    refused: Callable[[Exception], None],
    *,
    errors: tuple[type[Exception], ...],
    seconds: float,
) -> None:
    """Until cancelled: pass what was read to `take`, even if it is unchanged; pass each new error to `refused`.

    Content is read, not times: a kubelet swaps a symbolic link, and the new file may be older. What `take` raises of
    `errors` is a refusal as well.
    """
    reported = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            take(await asyncio.to_thread(read))
            reported = ""
        except errors as error:
            if str(error) != reported:
                reported = str(error)
                refused(error)
