"""EDGE: processes of this machine that outlive, or must not outlive, who started them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

# Between fork and exec a process with threads may only do what is safe in a signal handler: code run there
# (`preexec_fn`) can wait forever for a lock that another thread, one of gRPC's say, held at the fork. So a small
# process becomes another user where that is wanted, asks the kernel to end it with its parent (1 is PR_SET_PDEATHSIG;
# a change of user would undo it), looks that the parent is still there, and becomes the program.
_LEASH = """
import ctypes, os, signal, sys
user = int(sys.argv[2])
if user:
    os.chdir("/")
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[3], sys.argv[3:])
"""
# A Popen that is collected while its process runs warns; these run on by design.
_BACKGROUND: list[subprocess.Popen[bytes]] = []


def start_in_background(
    arguments: Sequence[str],
    log: Path,
    *,
    die_with_parent: bool,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with both outputs appended to a log.

    Raises FileNotFoundError. With `die_with_parent` the kernel kills it when the thread that started it ends (Linux;
    elsewhere nothing happens). `user` is the number of another user and group, which only root can give.
    """
    if die_with_parent and sys.platform == "linux":
        leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), str(user or 0)]
        arguments = [*leash, _found(arguments[0]), *arguments[1:]]
        user = None
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            user=user,
            group=user,
        )
    _BACKGROUND.append(process)
    return process


def _found(program: str) -> str:
    if path := shutil.which(program):
        return path
    raise FileNotFoundError(f"program {program} does not exist")


def alive(pid: int, started: float) -> bool:
    """Whether this process still runs; the start time distinguishes it from a later one with the same PID."""
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and abs(process.create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """A port of the loopback interface that no process listens on now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process and all of its group; a process that is gone is not an error."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        os.killpg(process.pid, number)
