"""EDGE: certificate authorities, of the gateways or of the event bus, which worlds get with their configuration; a file may change."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

_LOG = logging.getLogger(__name__)
_SECONDS = 30.0
_MOST_BYTES = 64 << 10
_BEGINS = "-----BEGIN CERTIFICATE-----"


class Authority:
    """The certificates in a file; empty if the file does not exist, which means that there is no TLS."""

    def __init__(self, file: str, seconds: float = _SECONDS) -> None:
        self._file = Path(file) if file else None
        self._seconds = seconds
        self.text = self._read()

    async def follow(self, changed: Callable[[], None]) -> None:
        """Look now and then, and say when there are others. Never ends."""
        while True:
            await asyncio.sleep(self._seconds)
            text = await asyncio.to_thread(self._read)
            # A Secret that is gone for a moment takes nothing from those who trust it.
            if text and text != self.text:
                _LOG.info("%s changed: updating the worlds", self._file)
                self.text = text
                changed()

    def _read(self) -> str:
        if self._file is None:
            return ""
        try:
            text = self._file.read_text()
        except (OSError, ValueError):
            return ""
        if _BEGINS not in text or len(text) > _MOST_BYTES:
            _LOG.warning("%s contains no certificates: worlds get none", self._file)
            return ""
        return text
