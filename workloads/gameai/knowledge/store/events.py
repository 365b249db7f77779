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
from gameai.knowledge.store.event_statements import FIELDS, SEARCH
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

    Raises `KeyReusedError`, `FullError`, `OtherModelError`, psycopg.Error.
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
            if before is not None and before[1] != each.event.digest:
                raise KeyReusedError(index)
            if before is not None:
                made[each.event.key] = Appended(sequence=before[0], known=True, held=before[2])
                continue
            sequence = last + len(rows) + 1
            held = each.status is Status.QUARANTINED
            made[each.event.key] = Appended(sequence=sequence, known=False, held=held)
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
    rows = await _in_world(
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
    """Decide on events that are held or were rejected; returns on how many. Raises psycopg.Error."""
    rows = await _in_world(
        connection,
        world,
        "UPDATE memory.story_events SET status = %(verdict)s, reviewer = %(reviewer)s WHERE world_id = %(world)s"
        " AND sequence = ANY(%(sequences)s) AND status NOT IN ('live', %(verdict)s) RETURNING sequence",
        {"sequences": list(sequences), "verdict": verdict.value, "reviewer": reviewer},
    )
    return len(rows)


async def forget(
    connection: Connection, world: int, *, participant: str, before_seconds: int | None
) -> int:
    """Delete events of a participant, and before a second of world time; returns how many. Raises psycopg.Error."""
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", (f"{FORGET_SECONDS:.0f}s",)
        )
        await connection.execute(
            "SELECT FROM memory.worlds WHERE world_id = %s FOR NO KEY UPDATE", (world,)
        )
        rows = await _in_world(
            connection,
            world,
            "DELETE FROM memory.story_events WHERE world_id = %(world)s"
            " AND (%(participant)s = '' OR participants @> ARRAY[%(participant)s::text])"
            " AND (%(before)s::bigint IS NULL OR world_seconds < %(before)s::bigint) RETURNING sequence",
            {"participant": participant, "before": before_seconds},
        )
        await connection.execute(
            "UPDATE memory.worlds SET events = events - %s WHERE world_id = %s", (len(rows), world)
        )
    return len(rows)


async def _locked(connection: Connection, name: str) -> tuple[int, int, int]:
    """Number, last sequence and number of events of a world, which is made where it is not there; until the end of the transaction no other call appends to it."""
    await connection.execute(
        "INSERT INTO memory.worlds (name) VALUES (%s) ON CONFLICT (name) DO NOTHING", (name,)
    )
    cursor = await connection.execute(
        "SELECT world_id, last_sequence, events FROM memory.worlds WHERE name = %s FOR NO KEY UPDATE",
        (name,),
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it was inserted, or there; no statement of ours deletes a world
    return int(row[0]), int(row[1]), int(row[2])


async def _known(
    connection: Connection, world: int, keys: Sequence[str]
) -> Mapping[str, tuple[int, bytes, bool]]:
    cursor = await connection.execute(
        "SELECT key, sequence, digest, status = 'quarantined' FROM memory.story_events"
        " WHERE world_id = %s AND key = ANY(%s)",
        (world, list(keys)),
    )
    return {row[0]: (row[1], bytes(row[2]), row[3]) for row in await cursor.fetchall()}


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
        "digest": event.digest,
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


async def _in_world(
    connection: Connection, world: int, statement: str, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    async with connection.transaction():
        await connection.execute(SEE, {"world": world})
        cursor = await connection.execute(statement, {**values, "world": world})
        return await cursor.fetchall()
