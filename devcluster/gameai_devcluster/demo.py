"""`make demo`: from nothing to Ready tiers and worlds, saying what happens; leaves the cluster and the operator running."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gameai.client import Gateway
from gameai.weather.v1 import weather_pb2, weather_pb2_grpc

from gameai_devcluster import cluster, day, inference, install, laptop_bus, operators, story
from gameai_devcluster.api import Api, Json, from_kubeconfig, path
from gameai_devcluster.binary import BuildError
from gameai_devcluster.services import Service, ServiceLaunch

_DEV = install.ROOT / ".dev"
_READY_SECONDS = 120.0
_UNSCALED_SECONDS = 30.0
_SCALED = 7
_SCALER = "gameai-operator-scaler"
# Each player has about 15 NPCs that decide four times a minute. Scaling in waits 5 s here, and 15 min by default.
_SCALING: Json = {
    "maxReplicas": 12,
    "queue": {"targetPerReplica": 2},
    "players": {"requestsPerPlayerPerMinute": "60"},
    "scaleIn": {"windowSeconds": 5, "pods": 4, "periodSeconds": 3},
}
_QUESTIONS = (
    "What does a cart pay at Tamrel bridge?",
    "Who killed the twin king under the black banner?",
)
_PLAYERS = (300, 300, 900, 1600, 2400, 2400, 2400, 1200, 400, 300, 300, 300, 300, 300)


class Named(NamedTuple):
    """An object that was applied."""

    kind: str
    namespace: str
    name: str


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: a kubeconfig, and whether its nodes are simulated."""

    kubeconfig: Path
    simulated: bool


def main() -> int:
    """Run the demo; 0 if all tiers and worlds became Ready, Gold was scaled by hand and by players, and requests and questions were answered."""
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
            raise DemoError(f"CLUSTER={other} is not a file: set it to the path of a kubeconfig")
        _say(f"1/11 using the cluster of {other}")
        return Stage(other.resolve(), simulated=False)
    folder = _DEV / "cluster"
    running = cluster.load(folder)
    if running is not None and running.ready():
        _say("1/11 the local control plane runs already")
    else:
        _say("1/11 starting etcd, kube-apiserver, controllers, scheduler and simulated nodes")
        running = cluster.start(folder, cluster.Options(), lambda text: _say(f"    {text}"))
    kubeconfig = _DEV / "kubeconfig"
    kubeconfig.unlink(missing_ok=True)
    kubeconfig.symlink_to(running.kubeconfig)
    return Stage(kubeconfig, simulated=True)


def _play(stage: Stage) -> None:
    api = Api(from_kubeconfig(stage.kubeconfig))
    _say("2/11 installing the CRDs and the operator's rights")
    install.crds(api)
    install.rights(api)
    _say("3/11 starting the operator under its own service account")
    _start_operator(api)
    _say("4/11 applying examples/; waiting until every tier and world is Ready")
    _wait_ready(api, _apply_examples(api))
    _kubectl(stage, "get", "gameai", "-A")
    _say(f"5/11 kubectl scale modeltier/gold -n eldermoor --replicas={_SCALED}")
    _kubectl(stage, "scale", "modeltier/gold", "-n", "eldermoor", f"--replicas={_SCALED}")
    _wait_answering(api, "gold", _SCALED)
    _kubectl(stage, "get", "modeltier", "gold", "-n", "eldermoor")
    _say("6/11 starting a weather-manager here, from the world's own configuration object")
    _ask_the_weather(api)
    _say("7/11 a day of the world in ten seconds: what its services publish on an event bus here")
    _play_a_day(api)
    _say("8/11 a game loop asks Gold and Silver through a gateway on this machine")
    _say("    (simulators stand for vLLM: no model, made-up words, latencies as declared)")
    with (
        laptop_bus.running(_DEV / "jobs") as bus,
        inference.laptop(_DEV / "inference", bus.url) as laptop,
    ):
        _ask_the_gateway(laptop)
        _say("9/11 players come and go: the scaler follows them (2 minutes of a game in seconds)")
        _follow_players(api, laptop)
        _say("10/11 three jobs are stored on an event bus here, and Bronze answers them")
        _write_the_chronicle(laptop)
    _say("11/11 the storyteller answers from lore and chronicle, with its sources")
    _ask_the_storyteller(api)
    _kubectl(stage, "-n", "eldermoor", "get", "events", "--field-selector=reason=Scaled")


def _ask_the_gateway(laptop: inference.Laptop) -> None:
    try:
        laptop.play()
    except subprocess.CalledProcessError as error:
        raise DemoError(f"the game loop failed with exit code {error.returncode}") from error


def _write_the_chronicle(laptop: inference.Laptop) -> None:
    try:
        laptop.write()
    except subprocess.CalledProcessError as error:
        raise DemoError(f"the jobs failed with exit code {error.returncode}") from error


def _follow_players(api: Api, laptop: inference.Laptop) -> None:
    """Report a curve of players to the gateway, and show what becomes of Gold."""
    kubeconfig = install.operator_kubeconfig(api, _DEV / "scaler.kubeconfig", account=_SCALER)
    flags: dict[str, str | float] = {
        "gateways": laptop.metrics,
        "scaling_seconds": 1.0,
        "lease_name": "gameai-scaler",
    }
    scaler = operators.Operator(
        operators.Launch(
            kubeconfig=kubeconfig, log=_DEV / "scaler.log", command="scaler", flags=flags
        )
    )
    try:
        scaler.wait_ready()
        patch = {"spec": {"scaling": _SCALING}}
        api.patch(path("ModelTier", "eldermoor", "gold"), patch)
        asyncio.run(_play_curve(api, laptop.gateway))
        api.patch(path("ModelTier", "eldermoor", "gold"), {"spec": {"scaling": None}})
        _wait_unscaled(api)
    finally:
        scaler.stop()


def _wait_unscaled(api: Api) -> None:
    """The scaler removes its report before it stops."""
    end = time.monotonic() + _UNSCALED_SECONDS
    while "scaling" in api.get("ModelTier", "eldermoor", "gold")["status"]:
        if time.monotonic() > end:
            raise DemoError("the scaler did not remove its report of a tier without spec.scaling")
        time.sleep(0.3)


async def _play_curve(api: Api, gateway: str) -> None:
    most = 0
    async with Gateway(gateway, world="eldermoor/moor", insecure=True) as ai:
        for players in _PLAYERS:
            ai.report_players(players, 0)
            await ai.ask(
                role="reaction", archetype="guard", prompt="Who goes there?", default="patrol"
            )
            await asyncio.sleep(3.0)
            tier = await asyncio.to_thread(api.get, "ModelTier", "eldermoor", "gold")
            status = tier["status"]
            message = status.get("scaling", {}).get("message", "no decision yet")
            count = f"{status.get('readyReplicas', 0)} of {tier['spec']['replicas']} replicas"
            _say(f"    {players:5} players  {count:18} {message}")
            most = max(most, tier["spec"]["replicas"])
    if most <= _SCALED:
        raise DemoError(f"Gold did not follow its players beyond {_SCALED} replicas")


def _start_operator(api: Api) -> None:
    _DEV.mkdir(exist_ok=True)
    remembered = _DEV / "operator.json"
    operators.stop_remembered(remembered)
    kubeconfig = install.operator_kubeconfig(api, _DEV / "operator.kubeconfig")
    flags: dict[str, str | float] = {"headroom_priority_class": install.HEADROOM_CLASS}
    launch = operators.Launch(
        kubeconfig=kubeconfig, log=_DEV / "operator.log", die_with_parent=False, flags=flags
    )
    operator = operators.Operator(launch)
    operators.remember(operator, remembered)
    operator.wait_ready()


def _apply_examples(api: Api) -> list[Named]:
    """Apply every example; those that become Ready."""
    named = []
    for document in install.examples():
        metadata = document["metadata"]
        install.namespace(api, metadata["namespace"])
        api.apply(document, manager="kubectl")
        if install.has_status(document):
            named.append(Named(document["kind"], metadata["namespace"], metadata["name"]))
    return named


def _condition(root: Json, kind: str) -> Json:
    entries = root.get("status", {}).get("conditions", [])
    return next((entry for entry in entries if entry["type"] == kind), {})


def _wait_ready(api: Api, names: list[Named]) -> None:
    shown = ""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        roots = [api.get(*name) for name in names]
        line = ", ".join(_progress(root) for root in roots)
        if line != shown:
            _say(f"    {line}")
            shown = line
        if all(_condition(root, "Ready").get("status") == "True" for root in roots):
            return
        time.sleep(0.3)
    words = [f"{r['metadata']['name']}: {_condition(r, 'Ready').get('message')}" for r in roots]
    raise DemoError("not everything became Ready:\n  " + "\n  ".join(words))


def _progress(root: Json) -> str:
    ready, status = _condition(root, "Ready"), root.get("status", {})
    state = "Ready" if ready.get("status") == "True" else ready.get("reason", "unseen")
    of_tier = f"{status.get('readyReplicas', 0)}/{root['spec'].get('replicas', '?')}"
    count = status.get("readyServices", "") if root["kind"] == "GameWorld" else of_tier
    return f"{root['metadata']['name']} {state} {count}".strip()


def _ask_the_weather(api: Api) -> None:
    """One real gRPC call to a real service; only its pod is this machine."""
    config = _DEV / "moor.json"
    config.write_text(api.get("ConfigMap", "eldermoor", "moor-world")["data"]["world.json"])
    launch = ServiceLaunch(name="weather-manager", config=config, log=_DEV / "weather.log")
    service = Service(launch).wait_serving()
    try:
        stub = weather_pb2_grpc.WeatherServiceStub(service.channel())
        answer = stub.GetWeather(weather_pb2.GetWeatherRequest(region="coast"), timeout=10)
        service.stop()
    finally:
        service.close()
    found = answer.weather
    sky = weather_pb2.Sky.Name(found.sky).removeprefix("SKY_").lower()
    _say(
        f"    gameai.weather.v1.WeatherService/GetWeather {{region: coast}} at {service.endpoint}: {sky}, "
        f"{found.temperature_centidegrees / 100:.1f} °C, wind {found.wind_centimetres_per_second / 100:.1f} m/s, "
        f"until {found.ends_at.ToDatetime():%H:%M:%S} UTC"
    )


def _play_a_day(api: Api) -> None:
    document = json.loads(api.get("ConfigMap", "eldermoor", "moor-world")["data"]["world.json"])
    try:
        day.play(_DEV / "day", document, lambda text: _say(f"    {text}"))
    except day.DayError as error:
        raise DemoError(str(error)) from error


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
    subprocess.run(command, check=True)


def _ask_the_storyteller(api: Api) -> None:
    """The lore and the search are real; the simulator's words are made up."""
    document = json.loads(api.get("ConfigMap", "eldermoor", "moor-world")["data"]["world.json"])
    with story.laptop(_DEV / "story", document, lambda text: _say(f"    {text}")) as service:
        for question in _QUESTIONS:
            found = story.answer(service, question)
            if not found.citations or found.degraded_reason:
                raise DemoError(f"the storyteller did not answer {question!r}: {found}")
            _say(f"    {question}")
            _say(f"      {found.answer}  (no model: the simulator's words)")
            for each in found.citations:
                _say(f"      source: {each.chunk.document} > {each.chunk.section}")
                _say(f"        {' '.join(each.excerpt.split())[:200]} …")


def _last_words(stage: Stage, seconds: float) -> None:
    where = os.path.relpath(stage.kubeconfig)
    kubectl = f".venv/bin/kubectl --kubeconfig {where}"
    _say(f"\nDone in {seconds:.0f} s. The operator and the cluster stay up. Next, you could:")
    _say(f"  {kubectl} explain modeltier.spec            # every field, in words")
    _say(f"  {kubectl} -n eldermoor describe mt/gold     # conditions and events")
    _say(f"  {kubectl} -n eldermoor describe gworld/moor # the same of a world")
    _say(
        f"""  {kubectl} -n eldermoor patch gworld/frost --type=merge -p '{{"spec":{{"state":"Running"}}}}'  # wake it"""
    )
    _say(f"  {kubectl} -n eldermoor delete gameai --all  # nothing owned stays")
    if stage.simulated:
        _say(
            "Pods on these simulated nodes do not really run: the API, its rules and its controllers are real,"
            " the GPUs are not."
        )
        _say("`make down` stops it all.")


if __name__ == "__main__":
    sys.exit(main())
