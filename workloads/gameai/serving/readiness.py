"""Whether a process is ready, by parts: each resource that it cannot serve without says what is wrong with it."""

from collections.abc import Callable


class Readiness:
    """The parts by name. A process that drains is not ready, whatever its parts say."""

    def __init__(self) -> None:
        self.draining = False
        self._parts: dict[str, Callable[[], str]] = {}

    def add(self, name: str, fault: Callable[[], str]) -> None:
        """Be ready only while `fault` returns an empty text; it is called for every probe and must not block."""
        self._parts[name] = fault

    def fault(self) -> str:
        """Why the process is not ready, all parts in one line; empty if it is."""
        if self.draining:
            return "draining"
        found = [(name, fault()) for name, fault in self._parts.items()]
        return "; ".join(f"{name}: {text}" for name, text in found if text)
