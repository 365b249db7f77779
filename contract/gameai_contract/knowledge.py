"""PURE: what operator and memory pass to each other: reports of ingestions, and who may call."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_contract.names import config_name

# A kubelet keeps 4,096 bytes of a termination message.
MOST_REPORT_BYTES = 4000
MOST_FAILED = 8
_MOST_SENTENCE = 300
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
# A world is `namespace/name`.
WORLD_PATTERN = f"{_LABEL}/{_LABEL}"
_WORLD = re.compile(WORLD_PATTERN)
_SOURCE = re.compile("[a-z](?:[-a-z0-9]{0,28}[a-z0-9])?")
# Lore of all worlds needs this trust; a source with less is checked as a whole before new text of it is found.
GLOBAL_TRUST = 80
# Where a Job's containers find the documents of its source, and where the kubelet reads the report.
SOURCE_FOLDER = "/source"
REPORT_FILE = "/dev/termination-log"
# Where the memory finds who may call it, and the audience of tokens.
ADMISSION_KEY = "admission.json"
MEMORY_AUDIENCE = "gameai-memory"
# A world's own account is named after it.
_WORLD_ACCOUNT = config_name("")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What the memory holds of a source after an ingestion.

    `failed` are sentences about documents that were not ingested, the first `MOST_FAILED` of `failed_documents`;
    `error` says why the source was not ingested at all.
    """

    documents: int = 0
    chunks: int = 0
    quarantined: int = 0
    failed_documents: int = 0
    failed: Sequence[str] = ()
    error: str = ""

    def text(self) -> str:
        """As JSON of at most `MOST_REPORT_BYTES`."""
        known = {
            "documents": self.documents,
            "chunks": self.chunks,
            "quarantined": self.quarantined,
            "failedDocuments": self.failed_documents,
            "failed": [each[:_MOST_SENTENCE] for each in self.failed[:MOST_FAILED]],
            "error": self.error[:_MOST_SENTENCE],
        }
        while len(text := json.dumps(known)) > MOST_REPORT_BYTES:
            known = {**known, "failed": known["failed"][:-1]}  # type: ignore[index] # a list, above
        return text


def source_names_text(names: Sequence[tuple[str, str]]) -> str:
    """Sources that a database holds, by name and world (empty: lore of all worlds), as JSON of at most `MOST_REPORT_BYTES`."""
    kept = list(names)
    while len(text := json.dumps({"sources": kept})) > MOST_REPORT_BYTES:
        kept = kept[:-1]
    return text


def source_names(text: str) -> tuple[tuple[str, str], ...]:
    """The sources in a termination message; none where it does not say."""
    try:
        known = json.loads(text)["sources"]
        return tuple((str(name), str(world)) for name, world in known if _is_source(name, world))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()


def is_world(name: str) -> bool:
    """Is it the name of a world, `namespace/name`?"""
    return _WORLD.fullmatch(name) is not None


def _is_source(name: object, world: object) -> bool:
    """What a Job can be made of."""
    return (
        isinstance(name, str)
        and isinstance(world, str)
        and _SOURCE.fullmatch(name) is not None
        and (world == "" or is_world(world))
    )


def source_report(text: str) -> SourceReport | None:
    """The report in a termination message; None where it is none: pods are made of users' images too."""
    try:
        known = json.loads(text)
        return SourceReport(
            documents=_count(known["documents"]),
            chunks=_count(known["chunks"]),
            quarantined=_count(known["quarantined"]),
            failed_documents=_count(known["failedDocuments"]),
            failed=tuple(shown(each) for each in known["failed"][:MOST_FAILED]),
            error=shown(known["error"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def shown(value: object, most: int = _MOST_SENTENCE) -> str:
    """A text of at most so many characters that can be stored and shown."""
    return "".join(each if each.isprintable() else "?" for each in str(value)[:most])


def _count(value: object) -> int:
    """Raises ValueError."""
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError("not a count")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenKeys:
    """The issuer of a cluster's tokens, and its public keys as a JSON Web Key Set."""

    issuer: str
    keys: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryCaller:
    """An account, `namespace/name`, and its rights: each listed account may search the lore of all worlds.

    It may read the history of its `worlds`, with `writes` append to them, and with `reviews` decide what is held.
    """

    account: str
    worlds: Sequence[str] = ()
    writes: bool = False
    reviews: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """What a caller may do. `worlds` and `writable` None: all of them. `account` is empty where callers are not known."""

    account: str = ""
    worlds: frozenset[str] | None = None
    writable: frozenset[str] | None = None
    reviews: bool = True

    def may_read(self, world: str) -> bool:
        """Whether it may read the history of a world."""
        return self.worlds is None or world in self.worlds

    def may_write(self, world: str) -> bool:
        """Whether it may append to the history of a world."""
        return self.writable is None or world in self.writable


# On a laptop each caller has all rights.
EVERYTHING = Rights()


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Who may call a memory, as the operator writes it: how tokens are verified, and callers.

    Accounts of `namespace` may search the lore of all worlds; a world's own account there may read and write its world too.
    """

    namespace: str
    tokens: TokenKeys
    callers: Sequence[MemoryCaller] = ()

    def rights(self, account: str) -> Rights | None:
        """What an account may do; None: nothing at all."""
        namespace, _, name = account.partition("/")
        listed = [each for each in self.callers if each.account == account]
        worlds = {world for each in listed for world in each.worlds}
        writable = {world for each in listed if each.writes for world in each.worlds}
        own = namespace == self.namespace
        if own and name.endswith(_WORLD_ACCOUNT):
            world = f"{namespace}/{name.removesuffix(_WORLD_ACCOUNT)}"
            worlds.add(world)
            writable.add(world)
        if not (own or listed):
            return None
        reviews = any(each.reviews for each in listed)
        return Rights(
            account=account,
            worlds=frozenset(worlds),
            writable=frozenset(writable),
            reviews=reviews,
        )

    def text(self) -> str:
        """As JSON; the inverse of `admission`."""
        callers = [
            {
                "account": each.account,
                "worlds": list(each.worlds),
                "writes": each.writes,
                "reviews": each.reviews,
            }
            for each in self.callers
        ]
        known = {
            "namespace": self.namespace,
            "issuer": self.tokens.issuer,
            "keys": self.tokens.keys,
            "callers": callers,
        }
        return json.dumps(known, sort_keys=True, separators=(",", ":"))


def admission(text: str) -> Admission:
    """Who may call a memory. Raises ValueError, KeyError or TypeError for a text that is none."""
    known = json.loads(text)
    return Admission(
        namespace=str(known["namespace"]),
        tokens=TokenKeys(issuer=str(known["issuer"]), keys=dict(known["keys"])),
        callers=tuple(
            MemoryCaller(
                account=str(each["account"]),
                worlds=tuple(map(str, each["worlds"])),
                # An operator of the former release does not write it.
                writes=each.get("writes") is True,
                reviews=each["reviews"] is True,
            )
            for each in known["callers"]
        ),
    )
