"""`python -m gameai.knowledge`: migrate a database, ingest and remove sources, serve the memory, archives."""

import argparse
import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

import psycopg
from gameai_contract.knowledge import GLOBAL_TRUST, SourceReport, is_world, source_names_text
from gameai_contract.names import DATABASE_ENVIRONMENT, GRPC_PORT, HEALTH_PORT
from psycopg.conninfo import conninfo_to_dict

from gameai.knowledge import app
from gameai.knowledge.archive import ArchiveError
from gameai.knowledge.backups import command as archives
from gameai.knowledge.backups.repositories import RepositoryError
from gameai.knowledge.embedding import choice
from gameai.knowledge.embedding.embedder import Embedder, EmbeddingError
from gameai.knowledge.embedding.local import tokenizer
from gameai.knowledge.embedding.remote import INGESTING, SERVING
from gameai.knowledge.ingestion.chunking import cutter
from gameai.knowledge.ingestion.pipeline import ingest, remove
from gameai.knowledge.ingestion.sources import SourceError, read
from gameai.knowledge.records import MOST_TRUST, Report, Source
from gameai.knowledge.store import writing
from gameai.knowledge.store.errors import StoreError, first_line
from gameai.knowledge.store.writing import connect
from gameai.knowledge.usage import UsageError
from gameai.serving import flags, loop
from gameai.serving.opening import PortError
from gameai.serving.telemetry import configure_logging

_DATABASE = DATABASE_ENVIRONMENT
_STEPS = ("migrate", "ingest", "serve")
_REMOVE = "remove"
_MOST_CONNECTIONS = 100
_MOST_STATEMENT_MS, _MOST_DRAIN_SECONDS = 60_000, 600


_FAULTS = (
    SourceError,
    StoreError,
    EmbeddingError,
    PortError,
    ArchiveError,
    RepositoryError,
)


def main(arguments: list[str] | None = None) -> int:
    """Do the steps; 0 on success, 1 where one fails, 2 on a wrong flag."""
    parser = _parser()
    given = parser.parse_args(arguments)
    configure_logging(given.log_level)
    try:
        return _run(given)
    except UsageError as error:
        parser.error(str(error))
    except _FAULTS as error:
        sys.stderr.write(f"error: {error}\n")
    except psycopg.errors.UndefinedTable:
        sys.stderr.write("error: the database has no schema yet: run the step migrate first\n")
    except psycopg.Error as error:
        # Its first line names host and cause. The URL was checked before, so that no message quotes it.
        sys.stderr.write(f"error: the database: {first_line(error)}\n")
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
    return 1


def _run(given: argparse.Namespace) -> int:
    if given.step == archives.CHECK:
        return archives.check_file(given.file)
    return _with_database(given)


def _with_database(given: argparse.Namespace) -> int:
    database = _database(given.database or os.environ.get(_DATABASE, ""))
    removes = given.step == _REMOVE
    sources = [_source(each, has_folder=not removes) for each in given.source]
    _check_sources(given, [each for each, _ in sources])
    _check_serving(given)
    archives.check(given)
    model = choice.chosen(given)
    steps = [given.step] if given.step else list(_STEPS)
    if removes:
        return _remove(database, [each for each, _ in sources])
    if given.step in archives.STEPS:
        return archives.run(database, given, model)
    if "migrate" in steps:
        from gameai.knowledge.migrations import migrate  # noqa: PLC0415 - its library is a third of every other step's start

        sys.stdout.write(
            f"schema {migrate(database, model.model, model.dimensions, given.owner, lambda: _probe(model))}\n"
        )
    if steps == ["migrate"]:
        return _reported(database, given.report)
    reports = []
    if "ingest" in steps and sources:
        with contextlib.closing(model.embedder(INGESTING)) as embedder:
            reports = _ingest(database, sources, embedder)
    if given.report is not None:
        given.report.write_text(reports[0].text())
        return 0
    if "serve" in steps:
        _serve(_serving(given, database), model)
    failed = any(each.error or each.failed_documents for each in reports)
    return int(failed and given.step == "ingest")


def _probe(model: choice.Choice) -> None:
    """Before a database is made for vectors of a service: whether they have that length. Raises `EmbeddingError`."""
    if model.service is not None:
        with contextlib.closing(model.embedder(INGESTING)) as embedder:
            embedder.embed(["How long is a vector?"])


def _serve(options: app.Serving, model: choice.Choice) -> None:
    with contextlib.ExitStack() as stack:
        embedder = stack.enter_context(contextlib.closing(model.embedder(SERVING)))
        # The model of this process is loaded once; of a service each has its own connections.
        writer = embedder
        if model.service is not None:
            writer = stack.enter_context(contextlib.closing(model.embedder(SERVING)))
        loop.run(app.serve(options, embedder, writer))


def _reported(database: str, report: Path | None) -> int:
    """Write which sources a database holds after a migration."""
    if report is not None:
        with connect(database) as connection:
            report.write_text(source_names_text(writing.names(connection)))
    return 0


def _check_sources(given: argparse.Namespace, sources: list[Source]) -> None:
    """Raises `UsageError`."""
    numbers = Counter((each.world, each.name) for each in sources)
    twice = [name for (_, name), number in numbers.items() if number > 1]
    if twice:
        raise UsageError(f"--source {twice[0]} stands twice: one source has one folder")
    if given.step == "ingest" and not sources:
        raise UsageError("ingest needs --source NAME=FOLDER")
    if given.step == _REMOVE and not sources:
        raise UsageError("remove needs --source NAME")
    of_step = given.step in ("migrate", archives.BACKUP, archives.RESTORE)
    reports = of_step or (given.step == "ingest" and len(sources) == 1)
    if given.report is not None and not reports:
        raise UsageError(
            "--report needs the step migrate, backup or restore, or the step ingest and one --source"
        )


def _remove(database: str, sources: list[Source]) -> int:
    with connect(database) as connection:
        for each in sources:
            of = f"{each.world}: " if each.world else ""
            number = remove(connection, each)
            hint = "" if number else ": is its name right, and its world?"
            sys.stdout.write(f"{of}{each.name}: {number} documents removed{hint}\n")
    return 0


def _check_serving(given: argparse.Namespace) -> None:
    """Raises `UsageError`."""
    if not 1 <= given.connections <= _MOST_CONNECTIONS:
        raise UsageError(f"--connections must be from 1 to {_MOST_CONNECTIONS}")
    if not 1 <= given.statement_ms <= _MOST_STATEMENT_MS:
        raise UsageError(f"--statement-ms must be from 1 to {_MOST_STATEMENT_MS}")
    if not 0 <= given.drain_seconds <= _MOST_DRAIN_SECONDS:
        raise UsageError(f"--drain-seconds must be from 0 to {_MOST_DRAIN_SECONDS}")


def _database(url: str) -> str:
    """The URL. Raises `UsageError`, which does not quote it: it may hold a password."""
    wrong = f"--database or {_DATABASE} must be postgresql://user:password@host:port/name, with %-escapes in the password"
    if not url.startswith(("postgresql://", "postgres://")):
        raise UsageError(wrong)
    try:
        ports = str(conninfo_to_dict(url).get("port") or "")
    except psycopg.Error:
        raise UsageError(wrong) from None
    if not all(each.isdecimal() for each in ports.split(",") if each):
        raise UsageError(wrong)
    return url


def _ingest(
    database: str, sources: list[tuple[Source, Path]], embedder: Embedder
) -> list[SourceReport]:
    """Ingest all sources."""
    cut, reports = cutter(tokenizer()), []
    with connect(database) as connection:
        for source, folder in sources:
            try:
                report = ingest(connection, source, read(folder), embedder, cut)
            except SourceError as error:
                sys.stderr.write(f"error: source {source.name}: {error}\n")
                reports.append(SourceReport(error=str(error)))
                continue
            sys.stdout.write(_sentence(source, report))
            reports.append(
                SourceReport(
                    documents=report.documents,
                    chunks=report.chunks,
                    quarantined=report.quarantined,
                    failed_documents=len(report.failed),
                    failed=report.failed,
                )
            )
    return reports


def _sentence(source: Source, report: Report) -> str:
    of = f"{source.world}: " if source.world else ""
    done = "unchanged" if report.unchanged else f"{report.embedded} embedded"
    lines = [f"  not ingested: {each}\n" for each in report.failed]
    return (
        f"{of}{source.name}: {report.documents} documents, {report.chunks} chunks, "
        f"{report.quarantined} in quarantine ({done})\n{''.join(lines)}"
    )


def _source(text: str, *, has_folder: bool) -> tuple[Source, Path]:
    """NAME=FOLDER[,world=NAMESPACE/NAME][,trust=NUMBER], without a folder NAME[,world=…]. Raises `UsageError`."""
    head, *options = text.split(",")
    name, equals, folder = head.partition("=")
    found = dict(each.partition("=")[::2] for each in options)
    unknown = set(found) - ({"world", "trust"} if has_folder else {"world"})
    if not name or unknown or bool(equals and folder) != has_folder:
        form = (
            "NAME=FOLDER, then ,world=NAMESPACE/NAME and ,trust=NUMBER where they are needed"
            if has_folder
            else "NAME, then ,world=NAMESPACE/NAME where it is needed"
        )
        raise UsageError(f"--source {text}: write {form}")
    world = found.get("world", "")
    # An empty variable must not make a world's history lore of all worlds.
    if "world" in found and not is_world(world):
        raise UsageError(f"--source {text}: world must be NAMESPACE/NAME")
    trust = found.get("trust", str(GLOBAL_TRUST + 10))
    if trust not in map(str, range(MOST_TRUST + 1)):
        raise UsageError(f"--source {text}: trust must be from 0 to {MOST_TRUST}")
    return Source(name=name, world=world, trust=int(trust)), Path(folder)


def _serving(given: argparse.Namespace, database: str) -> app.Serving:
    return app.Serving(
        database=database,
        address=given.address,
        port=given.port,
        health_port=given.health_port,
        port_file=given.port_file,
        connections=given.connections,
        statement_ms=given.statement_ms,
        drain_seconds=given.drain_seconds,
        admission_file=given.admission_file,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gameai.knowledge",
        description="The memory of worlds: lore and history in Postgres with pgvector, found by meaning and by words.",
    )
    add = parser.add_argument
    add(
        "step",
        nargs="?",
        choices=(*_STEPS, _REMOVE, *archives.STEPS, archives.CHECK),
        help="only this step (default: migrate, ingest and serve, in this order); remove: the documents of sources, by name; "
        "export, import, backup, restore: events, concepts, relations and reviews, which no source brings back; check: whether a file of them is whole",
    )
    add(
        "--database",
        default="",
        help=f"postgresql:// URL; {_DATABASE} and PGPASSWORD keep a password out of the process list",
    )
    add(
        "--source",
        action="append",
        default=[],
        metavar="NAME=FOLDER[,world=NAMESPACE/NAME][,trust=NUMBER]",
        help="folder with Markdown documents, for all worlds or for one; trust from 0 to 100 (default 90); may be repeated",
    )
    add(
        "--report",
        type=Path,
        help="with ingest and one --source: write the result to this file, as JSON, and exit 0 also where documents failed; "
        "with migrate: the sources that the database holds; with backup and restore: the result",
    )
    add(
        "--owner",
        default="",
        metavar="NAMESPACE/NAME",
        help="with migrate: the knowledge base that the database belongs to; that of another one is refused; "
        "with backup and restore: the one whose archives they are (default local/memory)",
    )
    choice.add_flags(parser)
    archives.add_flags(parser)
    _add_serving(parser)
    flags.add_log_level(parser)
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    serving = parser.add_argument_group("serve").add_argument
    serving(
        "--address",
        default="127.0.0.1",
        help="listen address (default 127.0.0.1: without --admission-file callers are not authenticated)",
    )
    serving(
        "--admission-file",
        type=Path,
        help="file with the keys of tokens and the accounts that may call, as the operator writes it; a change is taken up",
    )
    serving(
        "--port",
        type=flags.port,
        default=GRPC_PORT,
        help=f"port of gRPC (default {GRPC_PORT}); 0: a free one",
    )
    serving(
        "--health-port",
        type=flags.port,
        default=HEALTH_PORT,
        help=f"port of /livez, /readyz, /metrics (default {HEALTH_PORT}); 0: a free one",
    )
    serving(
        "--port-file", type=Path, help="file to write both ports to, as JSON, once they are open"
    )
    serving(
        "--connections",
        type=int,
        default=4,
        help="connections to the database: two for each of its cores (default 4)",
    )
    serving(
        "--statement-ms",
        type=int,
        default=1000,
        help="longest time of a statement, in milliseconds (default 1000)",
    )
    serving(
        "--drain-seconds",
        type=float,
        default=23.0,
        help="longest time for callers to look elsewhere (default 23)",
    )


if __name__ == "__main__":
    sys.exit(main())
