"""Count writes by the API server's own audit log."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPERATOR = "system:serviceaccount:gameai-system:gameai-operator"
_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """One write: who, what, and how it ended."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    status: int
    body: Any

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace}/{self.name} → {self.status}"


class AuditLog:
    """Reads an audit log from where it was when this was made."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = file.stat().st_size if file.exists() else 0

    def writes(self, *, user: str = OPERATOR, leases: bool = False) -> list[Write]:
        """Writes since then by one user; those of Leases only on request."""
        return [
            each
            for each in self._read(user)
            if each.user == user and (leases or each.resource != "leases")
        ]

    def wait_rest(
        self, *namespaces: str, still_seconds: float = 3.0, seconds: float = 60.0
    ) -> None:
        """Wait until the operator wrote nothing there for so long, then forget what it wrote until now.

        Metrics in status come up to 2 s after the state that a reader waits for, and a line of this log a moment
        after the response that it records.
        """
        end = time.monotonic() + seconds
        seen, since = -1, time.monotonic()
        while time.monotonic() < since + still_seconds:
            if time.monotonic() > end:
                raise AssertionError(f"not in {seconds:.0f} s: no more writes in {namespaces}")
            count = sum(each.namespace in namespaces for each in self.writes())
            if count != seen:
                seen, since = count, time.monotonic()
            time.sleep(0.1)
        self._offset += len(self._lines())

    def _read(self, user: str) -> Iterator[Write]:
        # Most lines are others'; to look into each would take longer than the test.
        name = json.dumps(user).encode()
        for line in self._lines().splitlines():
            if name not in line:
                continue
            entry = json.loads(line)
            if entry["verb"] in _VERBS and entry["stage"] == "ResponseComplete":
                yield _write(entry)

    def _lines(self) -> bytes:
        """What is there beyond the offset, but for a line that is still being written."""
        with self._file.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        return text[: text.rfind(b"\n") + 1]


def _write(entry: dict[str, Any]) -> Write:
    reference = entry.get("objectRef", {})
    sub = reference.get("subresource")
    return Write(
        user=entry["user"]["username"],
        verb=entry["verb"],
        resource=reference.get("resource", "") + (f"/{sub}" if sub else ""),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        status=entry.get("responseStatus", {}).get("code", 0),
        body=entry.get("requestObject"),
    )
