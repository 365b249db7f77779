"""EDGE: facts of a world in the transaction of a call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from gameai.services.world_state import statements
from gameai.services.world_state.rules.decision import Declared, Written
from gameai.services.world_state.rules.drift import Dated
from gameai.services.world_state.rules.table import (
    Rule,
    Stored,
    Table,
    Target,
    Version,
)
from gameai.world_state.v1 import world_state_pb2 as pb

# Changes of each fact.
KEPT = 100


async def lock(db: AsyncConnection, world: str) -> tuple[int, str]:
    """The present revision and the token of the rules, which no other transaction can change until the end of this one."""
    row = await (await db.execute(statements.LOCK_HEAD, (world,))).fetchone()
    if row is None:
        # Without a row nothing was limited.
        await db.execute(statements.LOCK_TIMEOUT)
        await db.execute(statements.CREATE_HEAD, (world,))
        row = await (await db.execute(statements.LOCK_HEAD, (world,))).fetchone()
    if row is None:
        raise LookupError(f"the head of {world} is gone")
    return int(row[0]), str(row[1])


async def heads(db: AsyncConnection, worlds: Sequence[str]) -> dict[str, Version]:
    """The present versions of worlds."""
    cursor = await db.execute(statements.HEADS, (list(worlds),))
    found = {world: (revision, token) for world, revision, token in await cursor.fetchall()}
    return {each: found.get(each, Table().version) for each in worlds}


async def head(db: AsyncConnection, world: str) -> tuple[int, str, str]:
    """Revision, its token, and the token of the rules."""
    row = await (await db.execute(statements.HEAD, (world,))).fetchone()
    return (row[0], row[1], row[2]) if row is not None else (0, "", "")


async def rules_token(db: AsyncConnection, world: str) -> str:
    """The token of the present rules."""
    row = await (await db.execute(statements.PRESENT_RULES, (world,))).fetchone()
    return str(row[0]) if row is not None else ""


async def rules(db: AsyncConnection, world: str) -> dict[str, Rule]:
    """All rules of a world by the names of their facts."""
    found = {}
    for body, base, base_us, revision in await (
        await db.execute(statements.RULES, (world,))
    ).fetchall():
        rule = pb.FactRule.FromString(body)
        dated = Dated(value=base, at_us=base_us)
        found[rule.name] = Rule(body=rule, base=dated, revision=revision)
    return found


async def changed(db: AsyncConnection, world: str, since: int) -> dict[Target, Stored]:
    """Values that were written after a revision."""
    return _values(await (await db.execute(statements.CHANGED, (world, since))).fetchall())


async def known(db: AsyncConnection, world: str, targets: Iterable[Target]) -> dict[Target, Stored]:
    """Values of these facts that are stored."""
    given = {"world": world, **_columns(targets)}
    return _values(await (await db.execute(statements.KNOWN, given)).fetchall())


async def of_facts(db: AsyncConnection, world: str, names: Sequence[str]) -> dict[Target, Stored]:
    """Values of all regions that are stored of these facts."""
    given = {"world": world, "names": list(names)}
    return _values(await (await db.execute(statements.OF_FACTS, given)).fetchall())


async def write(
    db: AsyncConnection, world: str, revision: int, changes: Sequence[Written], world_us: int
) -> None:
    """Write values, and their changes, as this revision."""
    given: dict[str, Any] = {
        "world": world,
        "revision": revision,
        "world_us": world_us,
        "kept": KEPT,
        **_columns(each.target for each in changes),
        "values": [each.dated.value for each in changes],
        "dates": [each.dated.at_us for each in changes],
        "previous": [each.previous for each in changes],
        "causes": [each.cause for each in changes],
    }
    await db.execute(statements.WRITE, given)


async def declare(db: AsyncConnection, world: str, revision: int, given: Declared) -> None:
    """Write rules and the values that they change, and remove facts, as this revision."""
    named: Mapping[str, Any] = {"world": world, "revision": revision}
    if given.rules:
        rows = {
            "names": [each.body.name for each in given.rules],
            "bodies": [each.body.SerializeToString(deterministic=True) for each in given.rules],
            "bases": [each.base.value for each in given.rules],
            "dates": [each.base.at_us for each in given.rules],
        }
        await db.execute(statements.WRITE_RULES, {**named, **rows})
    if given.values:
        dated = [each.dated for each in given.values.values()]
        columns = {
            "values": [each.value for each in dated],
            "dates": [each.at_us for each in dated],
        }
        await db.execute(statements.MOVE_VALUES, {**named, **_columns(given.values), **columns})
    for statement in statements.REMOVE if given.removed else ():
        await db.execute(statement, {"world": world, "names": given.removed})
    await db.execute(statements.MOVE_HEAD, named)


async def changes(db: AsyncConnection, world: str, target: Target) -> list[pb.FactChange]:
    """The changes of a fact that are kept, newest first."""
    cursor = db.cursor(row_factory=dict_row)
    given = {"world": world, "name": target.fact, "region": target.region}
    await cursor.execute(statements.CHANGES, given)
    return [pb.FactChange(**row) for row in await cursor.fetchall()]


async def load(db: AsyncConnection, world: str, before: Table | None) -> Table:
    """What a world has now. Of one that is known already, what has changed is read."""
    await db.execute(statements.ONE_MOMENT)
    revision, token, of_rules = await head(db, world)
    if before is not None and before.rules_token == of_rules and before.revision < revision:
        values = {**before.values, **await changed(db, world, before.revision)}
        return replace(before, revision=revision, token=token, values=values)
    return Table(
        revision=revision,
        token=token,
        # An empty world has no token.
        loaded=token or "none",
        rules_token=of_rules,
        rules=await rules(db, world),
        values=await changed(db, world, -1),
    )


def _columns(targets: Iterable[Target]) -> dict[str, list[str]]:
    found = list(targets)
    return {"names": [each.fact for each in found], "regions": [each.region for each in found]}


def _values(rows: Sequence[tuple[str, str, int, int, int, str]]) -> dict[Target, Stored]:
    return {
        Target(fact=name, region=region): Stored(
            dated=Dated(value=value, at_us=at_us), revision=revision, cause=cause
        )
        for name, region, value, at_us, revision, cause in rows
    }
