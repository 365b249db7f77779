"""Steps of `python -m gameai.knowledge` within the tests: to start the program takes longer than most of them."""

import contextlib
import io
import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from unittest import mock

from gameai.knowledge.__main__ import main


def step(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What the program says to these arguments, with these variables besides the present ones. Only for the main thread."""
    root, ended = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    handlers, level = root.handlers[:], root.level
    # The program would close them.
    root.handlers.clear()
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            mock.patch.dict(os.environ, environment or {}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = _code(arguments)
    finally:
        root.handlers[:], root.level = handlers, level
        signal.signal(signal.SIGTERM, ended)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def _code(arguments: tuple[str, ...]) -> int:
    try:
        return main([*arguments])
    except SystemExit as end:
        return int(end.code or 0)
