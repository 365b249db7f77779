"""Starting processes that end with us."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from gameai_devcluster.processes import start_in_background

PARENT = """
import sys, time
from pathlib import Path
from gameai_devcluster.processes import start_in_background
child = start_in_background(["sleep", "60"], Path(sys.argv[1]), die_with_parent=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_no_code_of_ours_runs_between_fork_and_exec(tmp_path: Path) -> None:
    """It could wait forever for a lock that another thread held at the fork."""
    forks: list[str] = []
    os.register_at_fork(before=lambda: forks.append("forked"))
    process = start_in_background(["true"], tmp_path / "log", die_with_parent=True)
    assert process.wait(30) == 0
    assert forks == []


def test_arguments_and_environment_arrive(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", 'echo "$0 $WORD"', "two words"]
    process = start_in_background(command, log, die_with_parent=True, environment={"WORD": "x"})
    assert process.wait(30) == 0
    assert log.read_text() == "two words x\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        end = time.monotonic() + 30
        while child.name() != "sleep" and time.monotonic() < end:
            time.sleep(0.01)
        assert child.name() == "sleep"
        parent.kill()
    end = time.monotonic() + 30
    # Who takes orphans in may leave them as zombies.
    with contextlib.suppress(psutil.NoSuchProcess):
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="program missing-program does not exist"):
        start_in_background(["missing-program"], tmp_path / "log", die_with_parent=True)
