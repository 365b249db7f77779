"""Work by key: one at a time, and the newest of what waits."""

import asyncio
from collections.abc import Awaitable, Callable

from gameai_operator.scaling.newest import Newest


def work(done: list[str], name: str, gate: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await gate.wait()
        done.append(name)

    return run


async def test_what_waits_is_replaced_by_what_is_newer() -> None:
    newest, gate, done = Newest(2), asyncio.Event(), list[str]()
    newest.offer("gold", work(done, "first", gate))
    await asyncio.sleep(0)
    for name in ("second", "third"):
        newest.offer("gold", work(done, name, gate))
    newest.offer("silver", work(done, "other", gate))
    await asyncio.sleep(0)
    assert done == []
    gate.set()
    await asyncio.sleep(0.01)
    assert sorted(done) == ["first", "other", "third"]
    newest.offer("gold", work(done, "later", gate))
    await asyncio.sleep(0.01)
    assert done[-1] == "later"


async def test_work_is_taken_again_after_an_end() -> None:
    newest, gate, done = Newest(2), asyncio.Event(), list[str]()
    gate.set()
    newest.offer("gold", work(done, "ended before its first step", gate))
    await newest.end()
    newest.offer("gold", work(done, "again", gate))
    await asyncio.sleep(0.01)
    assert done == ["again"]


async def test_a_key_that_hangs_holds_up_no_other_and_ends_with_the_rest() -> None:
    newest, never, gate, done = Newest(2), asyncio.Event(), asyncio.Event(), list[str]()
    gate.set()
    newest.offer("hangs", work(done, "never", never))
    await asyncio.sleep(0)
    for number in range(5):
        newest.offer(f"tier-{number}", work(done, str(number), gate))
    await asyncio.sleep(0.01)
    assert sorted(done) == ["0", "1", "2", "3", "4"]
    await newest.end()
    never.set()
    await asyncio.sleep(0.01)
    assert "never" not in done
