"""Users' objects are read when a root names them, in turns, within a budget, and never on the event loop."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from gameai_operator.controller import foreign_reads as readings_module
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.foreign_reads import ForeignReads
from gameai_operator.controller.kind import Reading
from gameai_operator.controller.manifest import Key, Resource
from gameai_operator.controller.references import UNREAD, References
from gameai_operator.controller.workqueue import Workqueue
from gameai_operator.kinds import WATCHED


def config(name: str, namespace: str = "n") -> Key:
    return Key("ConfigMap", namespace, name)


def world(name: str, namespace: str = "n") -> Key:
    return Key("GameWorld", namespace, name)


class Shelf:
    """ForeignReads over ConfigMaps in a dict; a text of n characters takes n of a budget of 10."""

    def __init__(self) -> None:
        self.texts: dict[Key, str] = {}
        self.fetched: list[Key] = []
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.references = References()
        self.queue = Workqueue(lambda: 0.0)
        reading = Reading(
            read=self._read,
            refuse=lambda why: f"refused: {why}",
            unread=lambda why: f"unread: {why}",
            size_bytes=len,
            budget_bytes=10,
        )
        watched = {"ConfigMap": replace(WATCHED["ConfigMap"], reads=reading)}
        self.readings = ForeignReads(
            watched, references=self.references, queue=self.queue, fetch=self._fetch
        )

    def _read(self, document: Mapping[str, Any]) -> str:
        self.threads.add(threading.current_thread().name)
        return str(document["text"])

    async def _fetch(self, _: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        key = config(name, namespace)
        self.fetched.append(key)
        if self.errors:
            raise self.errors.pop()
        return {"text": self.texts[key]} if key in self.texts else None

    def point(self, root: Key, *targets: Key) -> None:
        added, dropped = self.references.point(root, targets)
        self.readings.named(added)
        self.readings.unnamed(dropped)

    async def put(self, key: Key, text: str) -> None:
        self.texts[key] = text
        self.readings.exists(key)
        await self.readings.read_due()

    def woken(self) -> set[Key]:
        found = set(self.queue._waiting)
        self.queue._waiting.clear()
        return found


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_what_no_root_names_is_neither_fetched_nor_kept(shelf: Shelf) -> None:
    await shelf.put(config("a"), "text")
    assert shelf.fetched == []
    assert shelf.references.shown(config("a")) is UNREAD


async def test_what_a_root_names_is_read_in_a_thread_and_wakes_it(shelf: Shelf) -> None:
    await shelf.put(config("a"), "text")
    shelf.point(world("w"), config("a"))
    assert shelf.references.seen_by(world("w")) == {config("a"): UNREAD}
    await shelf.readings.read_due()
    assert shelf.references.seen_by(world("w")) == {config("a"): "text"}
    assert shelf.woken() == {world("w")}
    assert threading.main_thread().name not in shelf.threads


async def test_what_is_named_before_it_exists_is_read_once_it_does(shelf: Shelf) -> None:
    shelf.point(world("w"), config("a"))
    assert shelf.references.seen_by(world("w")) == {config("a"): None}
    await shelf.put(config("a"), "text")
    assert shelf.references.shown(config("a")) == "text"


async def test_a_new_version_is_read_while_the_former_reading_stays(shelf: Shelf) -> None:
    shelf.point(world("w"), config("a"))
    await shelf.put(config("a"), "old")
    shelf.texts[config("a")] = "new"
    shelf.readings.exists(config("a"))
    assert shelf.references.shown(config("a")) == "old"
    await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) == "new"


async def test_a_version_that_shows_the_same_wakes_no_root(shelf: Shelf) -> None:
    shelf.point(world("w"), config("a"))
    await shelf.put(config("a"), "text")
    shelf.woken()
    await shelf.put(config("a"), "text")
    assert shelf.woken() == set()


async def test_what_the_last_root_lets_go_is_not_kept_and_can_be_named_again(shelf: Shelf) -> None:
    shelf.point(world("w"), config("a"))
    shelf.point(world("v"), config("a"))
    await shelf.put(config("a"), "text")
    shelf.point(world("w"))
    assert shelf.references.shown(config("a")) == "text"
    shelf.point(world("v"))
    assert shelf.references.shown(config("a")) is UNREAD
    shelf.point(world("w"), config("a"), Key("Namespace", "", "n"))
    await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) == "text"
    shelf.point(world("w"))


async def test_what_is_gone_is_absent_even_if_it_was_being_read(shelf: Shelf) -> None:
    shelf.point(world("w"), config("a"))
    shelf.texts[config("a")] = "text"
    shelf.readings.exists(config("a"))
    shelf.readings.gone(config("a"))
    await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) is None
    assert shelf.fetched == []


async def test_what_went_between_its_event_and_its_fetch_is_left_to_the_next_event(
    shelf: Shelf,
) -> None:
    shelf.point(world("w"), config("a"))
    shelf.readings.exists(config("a"))
    await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) is UNREAD
    shelf.readings.gone(config("a"))
    assert shelf.references.shown(config("a")) is None


async def test_namespaces_take_turns(shelf: Shelf) -> None:
    for number in range(3):
        shelf.point(world(f"w{number}", "greedy"), config(f"c{number}", "greedy"))
        shelf.readings.exists(config(f"c{number}", "greedy"))
    shelf.point(world("w", "small"), config("c", "small"))
    shelf.readings.exists(config("c", "small"))
    await shelf.readings.read_due()
    assert [each.namespace for each in shelf.fetched] == ["greedy", "small", "greedy", "greedy"]


async def test_a_namespace_has_a_budget_and_the_same_ones_fit_in_any_order(shelf: Shelf) -> None:
    for name in ("c", "b", "a"):
        shelf.point(world(name), config(name))
        await shelf.put(config(name), name * 5)
    assert shelf.references.shown(config("a")) == "aaaaa"
    assert shelf.references.shown(config("b")) == "bbbbb"
    refused = shelf.references.shown(config("c"))
    assert refused.startswith("refused: those of its namespace take 0 KiB together")
    other = config("c", "elsewhere")
    shelf.point(world("w", "elsewhere"), other)
    await shelf.put(other, "ccccc")
    assert shelf.references.shown(other) == "ccccc", "each namespace has its own"


async def test_room_that_is_given_back_goes_to_one_that_was_refused(shelf: Shelf) -> None:
    for name in ("a", "b", "c"):
        shelf.point(world(name), config(name))
        await shelf.put(config(name), name * 5)
    shelf.readings.gone(config("a"))
    await shelf.readings.read_due()
    assert shelf.references.shown(config("c")) == "ccccc"


async def test_one_that_cannot_be_fetched_is_tried_again_and_said_after_a_while(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings_module, "_RETRY_SECONDS", 0.0)
    shelf.point(world("w"), config("a"))
    shelf.errors = [ApiError(500, "InternalError", "no") for _ in range(3)]
    await shelf.put(config("a"), "text")
    assert shelf.references.shown(config("a")) is UNREAD
    for _ in range(2):
        await asyncio.sleep(0.01)
        await shelf.readings.read_due()
    assert shelf.references.shown(config("a")).startswith("unread: 500 no")
    await asyncio.sleep(0.01)
    await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) == "text"
    shelf.errors = [ApiError(500, "InternalError", "no")]
    await shelf.put(config("a"), "text")
    shelf.point(world("w"))
    await asyncio.sleep(0.01)
    assert shelf.readings._failures == {}


async def test_what_no_reader_can_take_ends_nothing_and_is_said(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings_module, "_RETRY_SECONDS", 0.0)
    shelf.point(world("w"), config("a"))
    shelf.errors = [IndexError("of a library") for _ in range(3)]
    await shelf.put(config("a"), "text")
    for _ in range(2):
        await asyncio.sleep(0.01)
        await shelf.readings.read_due()
    assert shelf.references.shown(config("a")) == "unread: the operator cannot read it: IndexError"
