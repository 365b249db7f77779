"""`python -m gameai.bus_controller.dead_letters`: batches that consumers could not handle: list them, redrive them, discard them."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiohttp
from gameai_contract.names import (
    BUS_CA_ENVIRONMENT,
    BUS_SECRET_ENVIRONMENT,
    BUS_URL_ENVIRONMENT,
)

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.consumer import redrive
from gameai.bus.dead_letters import reason, since
from gameai.bus.log import BusError, Stored
from gameai.bus.streams import DEAD_LETTERS
from gameai.bus_controller.secret import SecretError, existing, secret_name
from gameai.cluster.api import ApiError
from gameai.cluster.flags import NoServerError, add_server, server
from gameai.serving import loop

_PREFIX = "dlq."
_MOST_ROWS = 1000
_HEAD = ("ID", "BATCHES", "FIRST", "SINCE", "REASON")
_FAULTS = (
    ApiError,
    BusError,
    NoServerError,
    SecretError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)


class NoLettersError(Exception):
    """There is no dead letter of this ID."""


def main(arguments: list[str] | None = None) -> int:
    """0 once it is done; 1, with a message, where it cannot be."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.secret is None and not given.no_login:
        parser.error("give --secret, or --no-login for a bus on a laptop")
    try:
        lines = loop.run(_done(given))
    except (*_FAULTS, NoLettersError) as error:
        sys.stderr.write(f"error: {error or type(error).__name__}\n")
        return 1
    sys.stdout.write("".join(f"{each}\n" for each in lines))
    return 0


async def _done(given: argparse.Namespace) -> list[str]:
    login = (
        None
        if given.no_login
        else (await existing(server(given), given.secret)).login(given.bus_ca)
    )
    async with NatsAdmin(given.bus, name="gameai-dead-letters", login=login) as log:
        match given.action:
            case "list":
                return await listed(log)
            case "redrive":
                return await ordered(log, given.id)
            case _:
                return await discarded(log, given.id, given.sequence)


async def listed(log: NatsAdmin) -> list[str]:
    """A table: each consumer and world with dead letters, how many, and why the first one was not handled."""
    counts = await log.counts(DEAD_LETTERS)
    if not counts:
        return ["no dead letters"]
    rows: list[tuple[str, ...]] = [_HEAD]
    for subject in sorted(counts)[:_MOST_ROWS]:
        first = await log.first(DEAD_LETTERS, subject)
        if first is not None:
            rows.append(_row(subject, counts[subject], first))
    left = len(counts) - _MOST_ROWS
    return [*_table(rows), *([f"and {left} more"] if left > 0 else [])]


async def ordered(log: NatsAdmin, named: str) -> list[str]:
    """Order a redrive. Raises `NoLettersError`."""
    subject = await _subject(log, named)
    address = subjects.parsed(subject)
    await redrive(log, address, address.service)
    return [f"ordered: a replica of {address.service} handles them in order, up to one that fails"]


async def discarded(log: NatsAdmin, named: str, sequence: int | None) -> list[str]:
    """Remove the dead letters of an ID, or the one of a sequence alone. Raises `NoLettersError`."""
    subject = await _subject(log, named)
    if sequence is None:
        return [f"discarded {await log.purge(DEAD_LETTERS, subject)} batches"]
    letter = await log.first(DEAD_LETTERS, subject, sequence)
    if letter is None or letter.sequence != sequence:
        raise NoLettersError(
            f"there is no dead letter {sequence} of {named}: it was handled or discarded"
        )
    await log.remove(DEAD_LETTERS, subject, sequence)
    return ["discarded 1 batch"]


async def _subject(log: NatsAdmin, named: str) -> str:
    subject = f"{_PREFIX}{named}"
    try:
        subjects.parsed(subject)
    except ValueError as error:
        raise NoLettersError(f"{named!r} is no ID of dead letters: `list` shows them") from error
    if await log.first(DEAD_LETTERS, subject) is None:
        raise NoLettersError(f"there are no dead letters of {named}: `list` shows those that are")
    return subject


def _row(subject: str, count: int, first: Stored) -> tuple[str, ...]:
    return (
        subject.removeprefix(_PREFIX),
        str(count),
        str(first.sequence),
        since(first),
        reason(first),
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join((*cells, row[-1]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gameai.bus_controller.dead_letters",
        description="Batches of events that consumers could not handle. Run it in a pod of the bus's controller.",
    )
    environment = os.environ
    bus, secret = environment.get(BUS_URL_ENVIRONMENT), environment.get(BUS_SECRET_ENVIRONMENT)
    parser.add_argument(
        "--bus",
        default=bus,
        required=bus is None,
        metavar="URL",
        help=f"address of the brokers (default: ${BUS_URL_ENVIRONMENT})",
    )
    parser.add_argument(
        "--secret",
        type=secret_name,
        default=secret,
        required=False,
        metavar="NAMESPACE/NAME",
        help=f"Secret with the brokers' credentials (default: ${BUS_SECRET_ENVIRONMENT})",
    )
    parser.add_argument(
        "--bus-ca",
        type=Path,
        default=environment.get(BUS_CA_ENVIRONMENT),
        help=f"file with the certificates of the brokers' authority (default: ${BUS_CA_ENVIRONMENT})",
    )
    parser.add_argument(
        "--no-login", action="store_true", help="connect without credentials, to a bus on a laptop"
    )
    add_server(parser)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="show consumers and worlds with dead letters")
    again = actions.add_parser("redrive", help="have a replica of the consumer handle them again")
    discard = actions.add_parser("discard", help="remove them; they are lost for this consumer")
    for each in (again, discard):
        each.add_argument("id", help="as `list` shows it")
    discard.add_argument("--sequence", type=int, help="this one alone; `list` shows the first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
