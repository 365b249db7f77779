"""A port that is taken ends a program with one sentence that names the flag."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.worlds import configuration

VIEW = ("--view", "examples/laptop/gateway.yaml", "--insecure-no-identity")
AGENT = ("--engine=http://127.0.0.1:1", "--model=gold", "--class=Gold", "--address=127.0.0.1")
SERVICE = ("--address=127.0.0.1", "--drain-seconds=0")
PROGRAMS = {
    "gateway": ("gameai.gateway", *VIEW, "--port={}", "--health-port=0"),
    "gateway, health": ("gameai.gateway", *VIEW, "--port=0", "--health-port={}"),
    "agent": ("gameai.tier_agent", *AGENT, "--port={}"),
    "service": ("gameai.services.weather_manager", *SERVICE, "--port={}", "--health-port=0"),
    "service, health": (
        "gameai.services.weather_manager",
        *SERVICE,
        "--port=0",
        "--health-port={}",
    ),
    "operator": ("gameai_operator", "run", "--health-address=127.0.0.1", "--health-port={}"),
    "scaler": ("gameai_operator", "scaler", "--health-address=127.0.0.1", "--health-port={}"),
}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield int(held.getsockname()[1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_taken_port_is_named_with_its_flag(
    program: str, taken: int, tmp_path: Path, operator_kubeconfig: Path
) -> None:
    command = [each.format(taken) for each in PROGRAMS[program]]
    if "service" in program:
        (tmp_path / "world.json").write_text(configuration())
        command.append(f"--config={tmp_path / 'world.json'}")
    if command[0] == "gameai_operator":
        command.append(f"--kubeconfig={operator_kubeconfig}")
    ended = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=False
    )
    [flag] = [each.partition("=")[0] for each in command if each.endswith(str(taken))]
    said = ended.stdout + ended.stderr
    assert f"{flag}: cannot listen on 127.0.0.1, port {taken}: " in said
    assert "Traceback" not in said
    assert ended.returncode == 1
