"""What holds for every service with state of the catalogue, whatever it does: a new one needs its row in `support.conformance`."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.bus import subjects
from gameai.bus.batches import parsed
from gameai.bus.log import Start
from gameai.bus.streams import LOG
from gameai.bus.subjects import World
from gameai.testing.bus import MemoryLog
from gameai_contract.catalogue import CATALOGUE
from gameai_devcluster import postgres
from google.protobuf.message import Message
from support.bus import MOOR, worlds
from support.conformance import (
    SUBJECTS,
    Subject,
    called,
    changes_nothing,
    code,
    hostile,
    is_stream,
    numbered,
    seen,
)
from support.killed_database import restarted
from support.live_settings import drawn

OK, ABORTED, UNAVAILABLE = (
    grpc.StatusCode.OK,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
# What a caller may be answered whose request cannot be honoured.
REFUSALS = {
    *(INVALID, ABORTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION),
    *(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE),
}
FEN, OTHER = worlds(2)
GIVEN = (MOOR, FEN, OTHER)
CALLERS = 8

every_service = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.name)


@pytest.fixture
async def replicas(subject: Subject, database: str) -> AsyncIterator[list[Any]]:
    """Two of the service, for three worlds."""
    log = MemoryLog()
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(subject.serving(database, log, GIVEN)) for _ in range(2)
        ]


async def answered(live: Any, method: str, request: Message, world: World = MOOR) -> Message:
    """The answer. A request that is still answered for another caller is sent again."""
    async with asyncio.timeout(20):
        while True:
            answer = await called(live, method, request, world)
            if code(answer) is not ABORTED:
                break
            await asyncio.sleep(0.05)
    assert isinstance(answer, Message), (method, answer)
    return answer


async def agreed(replicas: list[Any], subject: Subject, world: World) -> dict[str, Any]:
    """What both replicas say of a world: reads come from memory, and one may be later."""
    async with asyncio.timeout(20):
        while True:
            one, other = [await seen(each, subject, world) for each in replicas]
            if one == other:
                return one
            await asyncio.sleep(0.05)


async def types(log: Any, world: World, service: str) -> Counter[int]:
    """How many events of each type a world has, once no more come."""
    found: list[int] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            async for each in log.replay(LOG, subjects.log(world, service), Start(sequence=1)):
                found += [event.type for event in parsed(each.payload).events]
    return Counter(found)


def test_every_service_with_state_is_in_the_suite_with_every_method() -> None:
    assert {each.name for each in SUBJECTS} == {
        name for name, service in CATALOGUE.items() if service.needs_database
    }
    for subject in SUBJECTS:
        changing = {name for name, method in subject.methods.items() if not changes_nothing(method)}
        assert set(subject.mutations) == changing
        assert set(subject.reads) == set(subject.methods) - changing
        for name in changing:
            method = subject.methods[name]
            assert "request_id" in method.input_type.fields_by_name, name
            assert not is_stream(method), f"{name}: an answer that is kept is one message"


@every_service
async def test_a_request_that_eight_callers_send_takes_effect_once(
    subject: Subject, replicas: list[Any]
) -> None:
    """In one world each mutation is sent by many callers to two replicas, in another one once: they are alike afterwards."""
    untouched = await agreed(replicas, subject, OTHER)
    for method, example in subject.mutations.items():
        request = numbered(example)
        found = await asyncio.gather(
            *(called(replicas[each % 2], method, request, MOOR) for each in range(CALLERS))
        )
        assert {code(each) for each in found} <= {OK, ABORTED}, (method, found)
        first = await answered(replicas[1], method, request)
        assert all(each == first for each in found if code(each) is OK), method
        await answered(replicas[0], method, numbered(example), FEN)
        expected = await agreed(replicas, subject, FEN)
        assert await agreed(replicas, subject, MOOR) == expected, method
        # Long after others have changed what it changed.
        assert await answered(replicas[0], method, request) == first
        assert await agreed(replicas, subject, MOOR) == expected, method
    assert await agreed(replicas, subject, OTHER) == untouched
    published = [await types(replicas[0].log, each, subject.name) for each in (MOOR, FEN)]
    assert published[0] == published[1]
    assert published[0].total() > 0


@every_service
async def test_an_id_is_required_and_is_for_one_request(
    subject: Subject, replicas: list[Any]
) -> None:
    used: list[str] = []
    for method, example in subject.mutations.items():
        for wrong in ("", "x", "0190b0a2-7c1e-7000-8000", f"{drawn()} "):
            request: Any = numbered(example)
            request.request_id = wrong
            answer = await called(replicas[0], method, request)
            assert code(answer) is INVALID, (method, wrong, answer)
            assert "request_id must be a UUID" in answer.details()
        for other in used:
            answer = await called(replicas[0], method, numbered(example, other))
            assert code(answer) is INVALID, (method, answer)
            assert "was used for another request" in answer.details()
        used.append(drawn())
        await answered(replicas[0], method, numbered(example, used[-1]))
        # In another world it is another id.
        await answered(replicas[0], method, numbered(example, used[-1]), FEN)


@every_service
async def test_a_world_that_is_not_served_is_named(subject: Subject, replicas: list[Any]) -> None:
    stranger = worlds(3)[2]
    for method, example in (*subject.mutations.items(), *subject.reads.items()):
        if is_stream(subject.methods[method]):
            continue
        request = numbered(example) if method in subject.mutations else example
        answer = await called(replicas[0], method, request, stranger)
        assert code(answer) is grpc.StatusCode.NOT_FOUND, (method, answer)
        assert stranger.name in answer.details(), answer.details()


@every_service
async def test_no_request_is_answered_with_a_fault_of_the_service(
    subject: Subject, replicas: list[Any]
) -> None:
    """Each field of each request, however deep: too long, too many, too large, absent, and characters that no database holds."""
    live = replicas[0]
    untouched = await seen(live, subject, OTHER)
    tried = 0
    for method, example in subject.mutations.items():
        await answered(live, method, numbered(example))
    for method, example in subject.mutations.items():
        for request in hostile(example):
            answer = await called(live, method, numbered(request), MOOR)
            assert code(answer) in {OK, *REFUSALS}, (method, str(request)[:300], answer)
            tried += 1
    for method, example in subject.reads.items():
        if is_stream(subject.methods[method]):
            continue
        for request in hostile(example):
            answer = await called(live, method, request, MOOR)
            assert code(answer) in {OK, *REFUSALS}, (method, str(request)[:300], answer)
            tried += 1
    assert tried > 50
    assert await seen(live, subject, OTHER) == untouched


@every_service
async def test_pages_of_one_hold_what_one_page_holds(subject: Subject, replicas: list[Any]) -> None:
    method, example = next(iter(subject.mutations.items()))
    await answered(replicas[0], method, numbered(example))
    for name in subject.pages:
        (listed,) = (f.name for f in subject.methods[name].output_type.fields if f.is_repeated)
        whole: Any = await answered(replicas[0], name, subject.reads[name])
        found: list[Any] = []
        request: Any = type(subject.reads[name])()
        request.CopyFrom(subject.reads[name])
        request.page_size = 1
        while True:
            page: Any = await answered(replicas[0], name, request)
            found += getattr(page, listed)
            assert len(getattr(page, listed)) <= 1
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert found == list(getattr(whole, listed))
        assert len(found) > 1
        for size in (-1, 201):
            wrong = type(request)()
            wrong.CopyFrom(subject.reads[name])
            wrong.page_size = size
            assert code(await called(replicas[0], name, wrong)) is INVALID
        request.page_token = "?"
        assert code(await called(replicas[0], name, request)) is INVALID


@every_service
async def test_no_mutation_is_lost_or_done_twice_by_an_outage_of_the_database(
    subject: Subject, tmp_path: Path
) -> None:
    """Mutations are UNAVAILABLE meanwhile, and take effect once when they are sent again; reads never fail otherwise."""
    server = postgres.start(tmp_path / "postgres")
    try:
        async with subject.serving(server.database("kit"), MemoryLog(), GIVEN) as live:
            *before, (method, example) = subject.mutations.items()
            for name, each in before:
                await answered(live, name, numbered(each))
            request = numbered(example)
            server.kill()
            found = await asyncio.gather(*(called(live, method, request) for _ in range(CALLERS)))
            assert {code(each) for each in found} <= {UNAVAILABLE, ABORTED}, found
            for name, each in subject.reads.items():
                if not is_stream(subject.methods[name]):
                    assert code(await called(live, name, each)) in {OK, UNAVAILABLE}
            server = await asyncio.to_thread(restarted, server, tmp_path / "postgres")
            async with asyncio.timeout(60):
                while code(answer := await called(live, method, request)) is not OK:
                    assert code(answer) in {UNAVAILABLE, ABORTED}, answer
                    await asyncio.sleep(0.1)
            assert await answered(live, method, request) == answer
    finally:
        server.stop()
