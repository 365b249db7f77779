"""`make demo`: from nothing to Ready tiers, saying what happens; leaves the cluster and the operator running."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from gameai_devcluster import cluster, install, operators
from gameai_devcluster.api import Api, Json, from_kubeconfig
from gameai_devcluster.binary import BuildError

_DEV = install.ROOT / ".dev"
_EXAMPLES = install.ROOT / "examples"
_READY_SECONDS = 120.0
_SCALED = 7


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: a kubeconfig, and whether its nodes are simulated."""

    kubeconfig: Path
    simulated: bool


def main() -> int:
    """Run the demo; 0 when every tier became Ready and Gold was scaled."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--cluster", type=Path, help="kubeconfig of another cluster; nothing is simulated there"
    )
    options = parser.parse_args()
    began = time.monotonic()
    try:
        stage = _stage(options.cluster)
        _play(stage)
    except (DemoError, BuildError, cluster.StartError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _last_words(stage, time.monotonic() - began)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _stage(other: Path | None) -> Stage:
    if other is not None:
        if not other.is_file():
            raise DemoError(f"CLUSTER={other} is no file: give the path of a kubeconfig")
        _say(f"1/5 using the cluster of {other}")
        return Stage(other.resolve(), simulated=False)
    folder = _DEV / "cluster"
    running = cluster.load(folder)
    if running is not None and running.ready():
        _say("1/5 the local control plane runs already")
    else:
        _say("1/5 starting etcd, kube-apiserver, controllers, scheduler and simulated nodes")
        running = cluster.start(folder, cluster.Options(), lambda text: _say(f"    {text}"))
    kubeconfig = _DEV / "kubeconfig"
    kubeconfig.unlink(missing_ok=True)
    kubeconfig.symlink_to(running.kubeconfig)
    return Stage(kubeconfig, simulated=True)


def _play(stage: Stage) -> None:
    api = Api(from_kubeconfig(stage.kubeconfig))
    _say("2/5 installing the CRDs and the operator's rights")
    install.crds(api)
    install.rights(api)
    _say("3/5 starting the operator under its own service account")
    _start_operator(api)
    tiers = _apply_examples(api)
    _say(f"4/5 applied examples/: {', '.join(tiers)}; waiting until each is Ready")
    _wait_ready(api, tiers)
    _kubectl(stage, "get", "gameai", "-A")
    _say(f"5/5 kubectl scale modeltier/gold -n eldermoor --replicas={_SCALED}")
    _kubectl(stage, "scale", "modeltier/gold", "-n", "eldermoor", f"--replicas={_SCALED}")
    _wait_answering(api, "gold", _SCALED)
    _kubectl(stage, "get", "modeltier", "gold", "-n", "eldermoor")


def _start_operator(api: Api) -> None:
    _DEV.mkdir(exist_ok=True)
    remembered = _DEV / "operator.json"
    operators.stop_remembered(remembered)
    kubeconfig = install.operator_kubeconfig(api, _DEV / "operator.kubeconfig")
    launch = operators.Launch(
        kubeconfig=kubeconfig, log=_DEV / "operator.log", die_with_parent=False
    )
    operator = operators.Operator(launch)
    operators.remember(operator, remembered)
    operator.wait_ready()


def _apply_examples(api: Api) -> list[str]:
    names = []
    for file in sorted(_EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            install.namespace(api, document["metadata"]["namespace"])
            api.apply(document, manager="kubectl")
            names.append(document["metadata"]["name"])
    return names


def _condition(tier: Json, kind: str) -> Json:
    entries = tier.get("status", {}).get("conditions", [])
    return next((entry for entry in entries if entry["type"] == kind), {})


def _wait_ready(api: Api, names: list[str]) -> None:
    shown = ""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        tiers = [api.get("ModelTier", "eldermoor", name) for name in names]
        line = ", ".join(_progress(tier) for tier in tiers)
        if line != shown:
            _say(f"    {line}")
            shown = line
        if all(_condition(tier, "Ready").get("status") == "True" for tier in tiers):
            return
        time.sleep(0.3)
    words = [f"{t['metadata']['name']}: {_condition(t, 'Ready').get('message')}" for t in tiers]
    raise DemoError("not every tier became Ready:\n  " + "\n  ".join(words))


def _progress(tier: Json) -> str:
    ready = _condition(tier, "Ready")
    state = "Ready" if ready.get("status") == "True" else ready.get("reason", "unseen")
    count = f"{tier.get('status', {}).get('readyReplicas', 0)}/{tier['spec']['replicas']}"
    return f"{tier['metadata']['name']} {state} {count}"


def _wait_answering(api: Api, name: str, replicas: int) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        status = api.get("ModelTier", "eldermoor", name)["status"]
        if status["readyReplicas"] == status["replicas"] == replicas:
            return
        time.sleep(0.3)
    raise DemoError(f"{name} did not come to {replicas} replicas in {_READY_SECONDS:.0f} s")


def _kubectl(stage: Stage, *arguments: str) -> None:
    kubectl = str(Path(sys.executable).parent / "kubectl")
    command = [kubectl, f"--kubeconfig={stage.kubeconfig}", *arguments]
    subprocess.run(command, check=True)  # noqa: S603 - our own kubectl and arguments


def _last_words(stage: Stage, seconds: float) -> None:
    where = os.path.relpath(stage.kubeconfig)
    kubectl = f".venv/bin/kubectl --kubeconfig {where}"
    _say(f"\nDone in {seconds:.0f} s. The operator and the cluster stay up. Next, you could:")
    _say(f"  {kubectl} explain modeltier.spec            # every field, in words")
    _say(f"  {kubectl} -n eldermoor describe mt/gold     # conditions and events")
    _say(f"  {kubectl} -n eldermoor delete mt --all      # nothing owned stays")
    if stage.simulated:
        _say(
            "Pods on these simulated nodes do not really run: the API, its rules and its controllers are real,"
            " the GPUs are not."
        )
        _say("`make down` stops it all.")


if __name__ == "__main__":
    sys.exit(main())
