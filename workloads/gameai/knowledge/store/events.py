"""EDGE: events of a world. Each transaction sees the rows of one world and no other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pgvector import HalfVector

from gameai.knowledge.events import (
    MOST_EVENTS,
    Appended,
    Checked,
    Event,
    Evidence,
    Found,
    Page,
    Recorded,
    Window,
)
from gameai.knowledge.records import Status
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.errors import BusyError
from gameai.knowledge.store.event_statements import FIELDS, SEARCH
from gameai.knowledge.store.scoped import ensure_world, in_world
from gameai.knowledge.store.statements import SEE

# A participant may have taken part in most of what happened.
FORGET_SECONDS = 60.0
_INSERT = (
    "INSERT INTO memory.story_events (world_id, sequence, key, digest, world_seconds, kind, summary, participants, evidence,"
    " confidence, importance, account, status, reasons, model, embedding) VALUES (%(world)s, %(sequence)s, %(key)s, %(digest)s,"
    " %(seconds)s, %(kind)s, %(summary)s, %(participants)s, %(evidence)s, %(confidence)s, %(importance)s, %(account)s, %(status)s,"
    " %(reasons)s, %(model)s, %(embedding)s)"
)


class KeyReusedError(Exception):
    """The key of an event was used for another event; `index` is its place among those that were sent."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class FullError(Exception):
    """The world has as many events as it may have."""


class OtherModelError(Exception):
    """The database holds vectors of another model."""


async def append(
    connection: Connection,
    world: str,
    events: Sequence[Checked],
    vectors: Sequence[bytes],
    *,
    account: str,
    model: str,
) -> list[Appended]:
    """Write all of them, or none. Those that are known already stay as they are.

    A vector is empty for an event that is known. Raises `KeyReusedError`, `FullError`, `OtherModelError`, `BusyError`, psycopg.Error.
    """
    async with connection.transaction():
        await bind(connection, model)
        number, last, many = await _locked(connection, world)
        await connection.execute(SEE, {"world": number})
        known = await _known(connection, number, [each.event.key for each in events])
        made: dict[str, Appended] = {}
        rows: list[dict[str, object]] = []
        for index, (each, vector) in enumerate(zip(events, vectors, strict=True)):
            before = known.get(each.event.key)
            if before is not None and before[1] != each.digest:
                raise KeyReusedError(index)
            if before is not None:
                made[each.event.key] = Appended(sequence=before[0], known=True, status=before[2])
                continue
            if not vector:
                # It was known a moment ago, and deleted since.
                raise BusyError("an event was deleted meanwhile; call again")
            sequence = last + len(rows) + 1
            made[each.event.key] = Appended(sequence=sequence, known=False, status=each.status)
            rows.append(_row(each, vector, number, sequence, account, model))
        if many + len(rows) > MOST_EVENTS:
            raise FullError
        if rows:
            async with connection.cursor() as cursor:
                await cursor.executemany(_INSERT, rows)
            await connection.execute(
                "UPDATE memory.worlds SET events = events + %s, last_sequence = %s WHERE world_id = %s",
                (len(rows), last + len(rows), number),
            )
    return [made[each.event.key] for each in events]


async def page(connection: Connection, world: int, wanted: Page) -> list[Recorded]:
    """The events of a page, in order. Raises psycopg.Error."""
    values = {
        "after": wanted.after,
        "count": wanted.count,
        "status": (Status.QUARANTINED if wanted.held else Status.LIVE).value,
        "from": wanted.window.from_seconds,
        "until": wanted.window.until_seconds,
        "confidence": wanted.window.confidence,
        "kinds": list(wanted.kinds),
        "participant": wanted.participant,
    }
    rows = await in_world(
        connection,
        world,
        f"SELECT {FIELDS} FROM memory.story_events WHERE world_id = %(world)s AND sequence > %(after)s AND status = %(status)s"
        " AND world_seconds BETWEEN %(from)s AND %(until)s AND confidence >= %(confidence)s"
        " AND (%(kinds)s::text[] = '{}' OR kind = ANY(%(kinds)s::text[]))"
        " AND (%(participant)s = '' OR participants @> ARRAY[%(participant)s::text])"
        " ORDER BY sequence LIMIT %(count)s",
        values,
    )
    return [_recorded(each) for each in rows]


async def search(
    connection: Connection, world: int, text: str, vector: bytes | None, window: Window, count: int
) -> list[Found]:
    """The events that are nearest by meaning and by words, best first; without a vector by words. Raises psycopg.Error."""
    values = {
        "world": world,
        "vector": HalfVector(np.frombuffer(vector, "<f4")) if vector else None,
        "text": text,
        "confidence": window.confidence,
        "from": window.from_seconds,
        "until": window.until_seconds,
        "count": count,
    }
    cursor = await connection.execute(SEARCH, values, binary=True)
    return [
        Found(
            score=float(row[0]),
            similarity=0.0 if row[1] is None else 1.0 - float(row[1]),
            recorded=_recorded(row[2:]),
        )
        for row in await cursor.fetchall()
    ]


async def review(
    connection: Connection, world: int, sequences: Sequence[int], verdict: Status, reviewer: str
) -> int:
    """Release or reject events; returns how many were not so before.

    A released one gets the next number of the history: a reader who continues from the last one must not miss it.
    Raises psycopg.Error.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT last_sequence FROM memory.worlds WHERE world_id = %s FOR NO KEY UPDATE",
            (world,),
        )
        [last] = await cursor.fetchone() or [0]
        await connection.execute(SEE, {"world": world})
        cursor = await connection.execute(
            "WITH decided AS (SELECT sequence AS old, row_number() OVER (ORDER BY sequence) AS place FROM memory.story_events"
            " WHERE world_id = %(world)s AND sequence = ANY(%(sequences)s) AND status <> %(verdict)s)"
            " UPDATE memory.story_events SET status = %(verdict)s, reviewer = %(reviewer)s, reviewed_at = now(),"
            " sequence = CASE WHEN %(verdict)s = 'live' THEN %(last)s + place ELSE sequence END"
            " FROM decided WHERE world_id = %(world)s AND sequence = old",
            {
                "world": world,
                "sequences": list(sequences),
                "verdict": verdict.value,
                "reviewer": reviewer,
                "last": last,
            },
        )
        if verdict is Status.LIVE:
            await connection.execute(
                "UPDATE memory.worlds SET last_sequence = last_sequence + %s WHERE world_id = %s",
                (cursor.rowcount, world),
            )
    return cursor.rowcount


async def forget(
    connection: Connection,
    world: int,
    *,
    participant: str,
    before_seconds: int | None,
    keys: Sequence[str],
) -> int:
    """Delete events of a participant, before a second of world time, and with one of these keys; returns how many.

    What is not given (empty, None) leaves no event out. Raises psycopg.Error.
    """
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", (f"{FORGET_SECONDS:.0f}s",)
        )
        await connection.execute(
            "SELECT FROM memory.worlds WHERE world_id = %s FOR NO KEY UPDATE", (world,)
        )
        await connection.execute(SEE, {"world": world})
        cursor = await connection.execute(
            "DELETE FROM memory.story_events WHERE world_id = %(world)s"
            " AND (%(participant)s = '' OR participants @> ARRAY[%(participant)s::text])"
            " AND (%(before)s::bigint IS NULL OR world_seconds < %(before)s::bigint)"
            " AND (%(keys)s::text[] = '{}' OR key = ANY(%(keys)s::text[]))",
            {
                "world": world,
                "participant": participant,
                "before": before_seconds,
                "keys": list(keys),
            },
        )
        count = cursor.rowcount
        await connection.execute(
            "UPDATE memory.worlds SET events = events - %s WHERE world_id = %s", (count, world)
        )
    return count


async def known_keys(connection: Connection, world: int, keys: Sequence[str]) -> frozenset[str]:
    """Those of the keys that the history of a world has. Raises psycopg.Error."""
    rows = await in_world(
        connection,
        world,
        "SELECT key FROM memory.story_events WHERE world_id = %(world)s AND key = ANY(%(keys)s)",
        {"keys": list(keys)},
    )
    return frozenset(str(row[0]) for row in rows)


async def _locked(connection: Connection, name: str) -> tuple[int, int, int]:
    """Number, last sequence and number of events of a world, which is made where it is not there; until the end of the transaction no other call appends to it."""
    number = await ensure_world(connection, name)
    cursor = await connection.execute(
        "SELECT last_sequence, events FROM memory.worlds WHERE world_id = %s FOR NO KEY UPDATE",
        (number,),
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - no statement of ours deletes a world
    return number, int(row[0]), int(row[1])


async def _known(
    connection: Connection, world: int, keys: Sequence[str]
) -> Mapping[str, tuple[int, bytes, Status]]:
    cursor = await connection.execute(
        "SELECT key, sequence, digest, status FROM memory.story_events"
        " WHERE world_id = %s AND key = ANY(%s)",
        (world, list(keys)),
    )
    return {row[0]: (row[1], bytes(row[2]), Status(row[3])) for row in await cursor.fetchall()}


async def bind(connection: Connection, model: str) -> None:
    """The first vectors of a database decide its model. Raises `OtherModelError`."""
    await connection.execute(
        "INSERT INTO memory_ops.facts VALUES ('model', %s) ON CONFLICT (key) DO NOTHING", (model,)
    )
    cursor = await connection.execute("SELECT value FROM memory_ops.facts WHERE key = 'model'")
    row = await cursor.fetchone()
    if row is None or row[0] != model:
        raise OtherModelError


def _row(
    checked: Checked, vector: bytes, world: int, sequence: int, account: str, model: str
) -> dict[str, object]:
    event = checked.event
    return {
        "world": world,
        "sequence": sequence,
        "key": event.key,
        "digest": checked.digest,
        "seconds": event.world_seconds,
        "kind": event.kind,
        "summary": checked.summary,
        "participants": list(event.participants),
        "evidence": event.evidence.value,
        "confidence": event.confidence,
        "importance": event.importance,
        "account": account,
        "status": checked.status.value,
        "reasons": list(checked.reasons),
        "model": model,
        "embedding": HalfVector(np.frombuffer(vector, "<f4")),
    }


def _recorded(row: Sequence[Any]) -> Recorded:
    """A row of `FIELDS`."""
    return Recorded(
        sequence=row[0],
        event=Event(
            key=row[1],
            world_seconds=row[2],
            kind=row[3],
            summary=row[4],
            participants=tuple(row[5]),
            evidence=Evidence(row[6]),
            confidence=row[7],
            importance=row[8],
        ),
        account=row[9],
        recorded_at=row[10],
        status=Status(row[11]),
        reasons=tuple(row[12]),
    )
