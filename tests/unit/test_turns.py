"""Accounts take turns at the one thread of a model."""

import asyncio
import threading

import pytest
from gameai.knowledge.embedding.turns import NoPlaceError, Turns


class Work:
    """Pieces of work that say when they are done; the first waits until all are there."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._go = threading.Event()
        self.done: list[str] = []

    def submit(self, account: str, name: str) -> asyncio.Future[str]:
        return self._turns.submit(account, lambda: self._do(name))

    def go(self) -> None:
        self._go.set()

    def _do(self, name: str) -> str:
        assert self._go.wait(10)
        self.done.append(name)
        if name == "wrong":
            raise ValueError(name)
        return name


@pytest.fixture
def work() -> Work:
    return Work(Turns("test", most=8, most_of_account=4))


async def test_an_account_with_little_work_does_not_wait_for_all_work_of_another(
    work: Work,
) -> None:
    results = [work.submit("a", f"a{n}") for n in range(4)]
    results += [work.submit("b", "b0"), work.submit("c", "c0"), work.submit("b", "b1")]
    work.go()
    assert await asyncio.gather(*results) == ["a0", "a1", "a2", "a3", "b0", "c0", "b1"]
    assert work.done == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_an_account_has_a_share_of_the_places_and_gets_them_back(work: Work) -> None:
    results = [work.submit("a", f"a{n}") for n in range(4)]
    with pytest.raises(NoPlaceError):
        _ = work.submit("a", "a4")
    results += [work.submit("b", f"b{n}") for n in range(4)]
    # Also where others have taken all, an account has one.
    results.append(work.submit("c", "c0"))
    for account in ("b", "c"):
        with pytest.raises(NoPlaceError):
            _ = work.submit(account, "more")
    work.go()
    await asyncio.gather(*results)
    assert await work.submit("a", "a5") == "a5"


async def test_callers_that_are_not_known_share_all_places(work: Work) -> None:
    results = [work.submit("", f"{n}") for n in range(8)]
    with pytest.raises(NoPlaceError):
        _ = work.submit("", "8")
    work.go()
    assert len(await asyncio.gather(*results)) == 8


async def test_cancelled_work_is_not_done_and_an_error_reaches_its_caller(work: Work) -> None:
    first, gone, wrong, last = (work.submit("a", each) for each in ("1", "2", "wrong", "4"))
    gone.cancel()
    work.go()
    with pytest.raises(ValueError, match="wrong"):
        await wrong
    assert (await first, await last) == ("1", "4")
    assert work.done == ["1", "wrong", "4"]


async def test_no_fault_of_a_piece_of_work_stops_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Turns("test", most=8, most_of_account=4)
    with pytest.raises(RuntimeError, match="ended early"):
        await turns.submit("a", lambda: next(iter(())))
    turns = Turns("test", most=8, most_of_account=1)
    with monkeypatch.context() as without_threads:

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        without_threads.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="start new thread"):
            await turns.submit("a", lambda: 1)
    assert await asyncio.wait_for(turns.submit("a", lambda: 2), 10) == 2


async def test_what_waits_when_it_closes_is_cancelled() -> None:
    turns = Turns("test", most=8, most_of_account=4)
    work = Work(turns)
    running, waiting = work.submit("a", "1"), work.submit("a", "2")
    turns.close()
    work.go()
    assert await running == "1"
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(NoPlaceError):
        _ = work.submit("b", "3")
    assert work.done == ["1"]


async def test_an_account_has_at_most_half_of_several_workers() -> None:
    turns = Turns("test", most=64, most_of_account=32, workers=4)
    go, begun = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        assert go.wait(10)

    results = [turns.submit("a", wait) for _ in range(8)]
    # Two run; one of another account has a worker at once, however many wait.
    assert [begun.acquire(timeout=10) for _ in range(2)] == [True, True]
    assert await asyncio.wait_for(turns.submit("b", lambda: "here"), 10) == "here"
    assert not begun.acquire(blocking=False)
    unknown = [turns.submit("", lambda: "there") for _ in range(4)]
    assert await asyncio.wait_for(asyncio.gather(*unknown), 10) == ["there"] * 4
    go.set()
    await asyncio.wait_for(asyncio.gather(*results), 10)
