"""The example of a client in Go: generated from the contract, built, and answered by a gateway."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster.inference import Laptop, laptop
from gameai_devcluster.install import ROOT

GO = {
    "GOTOOLCHAIN": "local",
    "CGO_ENABLED": "0",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Laptop]:
    with laptop(tmp_path / "laptop") as found:
        yield found


@pytest.fixture
def ask(tmp_path: Path) -> Path:
    # Beside a copy of the contract, so that the checkout stays clean.
    folder = tmp_path / "examples/clients/go"
    left_out = shutil.ignore_patterns("inference", "plugins", "ask")
    shutil.copytree(ROOT / "examples/clients/go", folder, ignore=left_out)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    tools = {
        "PROTOC": f"{sys.executable} -m grpc_tools.protoc",
        "INCLUDE": sysconfig.get_path("purelib"),
    }
    environment = {**os.environ, **GO, **tools}
    subprocess.run([str(folder / "generate.sh")], check=True, env=environment)
    subprocess.run(["go", "vet", "."], cwd=folder, check=True, env=environment)
    subprocess.run(["go", "build", "-o", "ask", "."], cwd=folder, check=True, env=environment)
    return folder / "ask"


def test_the_example_in_go_is_answered_and_has_a_default_of_its_own(
    served: Laptop, ask: Path
) -> None:
    def answer(*flags: str) -> str:
        command = [str(ask), f"-address={served.gateway}", "-deadline=5s", *flags, "A wolf!"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    action, source = answer("-world=eldermoor/moor", "-archetype=guard").split()
    assert source == "ENGINE"
    assert action in {"patrol", "challenge", "attack", "flee"}
    assert answer("-world=eldermoor/none", "-archetype=guard").split() == ["greet", "OWN_DEFAULT"]
