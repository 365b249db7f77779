"""EDGE: processes of this machine that outlive, or must not outlive, who started them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
# A Popen that is collected while its process runs warns; these run on by design.
_BACKGROUND: list[subprocess.Popen[bytes]] = []


def start_in_background(
    arguments: Sequence[str],
    log: Path,
    *,
    die_with_parent: bool,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with both outputs appended to a log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent if die_with_parent else None,  # noqa: PLW1509 - one prctl
        )
    _BACKGROUND.append(process)
    return process


def end_with_parent() -> None:
    """Ask the kernel to end this process with its parent (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def alive(pid: int, started: float) -> bool:
    """Whether this process still runs; the start time tells it from a later one of the same number."""
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and abs(process.create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process and all of its group; one that is gone is no error."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        os.killpg(process.pid, number)
