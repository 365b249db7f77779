"""Whether a process is ready, by parts: each resource that it cannot serve without says what is wrong with it."""

from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """Where a process is in its life; only one that serves may be ready."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Readiness:
    """The stage of the process, and its parts by name."""

    def __init__(self) -> None:
        self.stage = Stage.STARTING
        self._parts: dict[str, Callable[[], str]] = {}

    def add(self, name: str, fault: Callable[[], str]) -> None:
        """Be ready only while `fault` returns an empty text; it is called for every probe and must not block."""
        self._parts[name] = fault

    def fault(self) -> str:
        """Why the process is not ready, in one line; empty if it is."""
        if self.stage is Stage.DRAINING:
            return self.stage.value
        found = [(name, fault()) for name, fault in self._parts.items()]
        parts = [f"{name}: {text}" for name, text in found if text]
        return "; ".join([*([] if self.stage is Stage.SERVING else [self.stage.value]), *parts])
