"""EDGE: processes of this machine that outlive, or must not outlive, who started them."""

import contextlib
import ctypes
import os
import signal
import sys

import psutil

_PR_SET_PDEATHSIG = 1


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
