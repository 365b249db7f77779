"""The event bus as the chart runs it: worlds of real pods publish, and go on after each part of it was replaced."""

import base64
import json
from collections.abc import Callable
from functools import partial

from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import condition, until
from support import real

Kubectl = Callable[..., str]
BUS, CONTROLLER = "gameai-operator-bus", "gameai-operator-bus-controller"
# Runs in the pod of the controller, as the user that may read all. Types of events of a world after a sequence, and the last sequence.
READ = """
import asyncio, os, sys
from pathlib import Path
from gameai.bus.batches import parsed
from gameai.bus.log import BusError, Start
from gameai.bus.login import Password
from gameai.bus.nats import NatsLog
from gameai.bus.streams import LOG

async def main():
    address, password, world, after, number = sys.argv[1:]
    login = Password(user="streams", password=password, ca_file=Path(os.environ["GAMEAI_BUS_CA"]))
    async with asyncio.timeout(100):
        while True:
            try:
                async with NatsLog(address, login=login) as log:
                    return await read(log, world, int(after), int(number))
            except BusError:
                # The server that was killed is not back yet.
                await asyncio.sleep(1)

async def read(log, world, after, left):
    said, subject = [], f"log.none.*.eldermoor.{world}.*.*"
    async for each in log.replay(LOG, subject, Start(sequence=after + 1)):
        for event in parsed(each.payload).events:
            said.append((each.subject.rpartition(".")[2], each.sequence))
        left -= 1
        if not left:
            print(*(f"{service} {sequence}" for service, sequence in said), sep="\\n")
            return

asyncio.run(main())
"""


# Runs in a pod of world moor, with its token, as the service that the variable names. With an argument it fails.
CONSUME = """
import asyncio, sys
from gameai.bus.group import PoisonError
from gameai.client import Bus

async def main():
    bus, done = Bus.of_world(), asyncio.Event()

    async def handle(received):
        done.set()
        if sys.argv[1:]:
            raise PoisonError(sys.argv[1])
        for event in received.batch.events:
            print(received.address.service, type(bus.message(event)).__name__)

    consuming = asyncio.create_task(bus.consume(handle))
    async with asyncio.timeout(100):
        await done.wait()
    # The answer to the batch is on its way.
    await asyncio.sleep(1)
    consuming.cancel()

asyncio.run(main())
"""
MORE = {"memory": "256Mi"}


def published(api: Api, kubectl: Kubectl, after: int, number: int) -> list[tuple[str, int]]:
    """Service and sequence of so many batches of world moor, behind a sequence."""
    data = api.get("Secret", real.SYSTEM, BUS)["data"]
    password = base64.b64decode(data["streams-password"]).decode()
    said = kubectl(
        *("-n", real.SYSTEM, "exec", f"deployment/{CONTROLLER}", "--", "python", "-c", READ),
        *(f"nats://{BUS}.{real.SYSTEM}.svc:4222", password, "moor", str(after), str(number)),
    )
    pairs = (line.split() for line in said.splitlines())
    return [(service, int(sequence)) for service, sequence in pairs]


def pods(api: Api) -> dict[str, Json]:
    """The pods of the bus and of its controller, by uid."""
    selector = "app.kubernetes.io/name in (gameai-bus,gameai-bus-controller)"
    return {each["metadata"]["uid"]: each for each in real.live(api, real.SYSTEM, selector)}


def ready(api: Api) -> bool:
    found = pods(api).values()
    return len(found) == 2 and all(map(real.is_ready, found))


def is_replaced(api: Api, before: set[str]) -> bool:
    """Whether another pod has come, and all are ready."""
    return ready(api) and set(pods(api)) != before


def test_worlds_publish_and_go_on_after_each_part_was_replaced(
    examples: list[Json], api: Api, kubectl: Kubectl
) -> None:
    until("the bus is ready", lambda: ready(api), seconds=300)
    # The clock of a world is set as it is now when its service starts.
    first = published(api, kubectl, after=0, number=3)
    assert {service for service, _ in first} <= {"time-manager", "weather-manager"}
    last = first[-1][1]
    for replaced in (
        ("delete", "pod", f"{BUS}-0", "--force", "--grace-period=0"),
        ("delete", "pod", "-l", "app.kubernetes.io/name=gameai-bus-controller"),
        ("rollout", "restart", f"statefulset/{BUS}"),
    ):
        before = set(pods(api))
        kubectl("-n", real.SYSTEM, *replaced)
        until("the bus is ready again", partial(is_replaced, api, before), seconds=300)
        kubectl("-n", "eldermoor", "rollout", "restart", "deployment/moor-time-manager")
        kubectl(
            *("-n", "eldermoor", "rollout", "status", "deployment/moor-time-manager"),
            "--timeout=120s",
        )
        found = published(api, kubectl, after=last, number=1)
        assert found[0][1] > last
        last = found[-1][1]


def test_a_service_of_a_world_consumes_events_of_another(
    examples: list[Json], api: Api, kubectl: Kubectl
) -> None:
    until("the bus is ready", lambda: ready(api), seconds=300)
    world = api.get("GameWorld", "eldermoor", "moor")
    services = [
        each
        | ({"consumes": ["time-manager"]} if each["name"] == "duel-judge" else {})
        # For the second program in its pod.
        | ({"resources": MORE} if each["name"] == "time-manager" else {})
        for each in world["spec"]["services"]
    ]
    change = json.dumps({"spec": {"services": services}})
    kubectl("-n", "eldermoor", "patch", "gworld", "moor", "--type=merge", "-p", change)
    real.wait_ready(api, "GameWorld", "eldermoor", "moor")
    kubectl(
        *("-n", "eldermoor", "rollout", "status", "deployment/moor-time-manager"), "--timeout=120s"
    )

    def consume(*arguments: str) -> list[list[str]]:
        said = kubectl(
            *("-n", "eldermoor", "exec", "deployment/moor-time-manager", "--"),
            *("env", "GAMEAI_SERVICE=duel-judge", "python", "-c", CONSUME, *arguments),
        )
        return [line.split() for line in said.splitlines()]

    def letters(*arguments: str) -> str:
        return kubectl(
            *("-n", real.SYSTEM, "exec", f"deployment/{CONTROLLER}", "--"),
            *("python", "-m", "gameai.bus_controller.dead_letters", *arguments),
        )

    def says(reason: str) -> bool:
        found = condition(api.get("GameWorld", "eldermoor", "moor"), "ServicesReady")
        return found.get("reason") == reason

    consume("the duel has no judge")
    until("the world says what is parked", lambda: says("EventsParked"), seconds=60)
    _, row = letters("list").splitlines()
    assert row.endswith("PoisonError: the duel has no judge")
    letters("redrive", row.split()[0])
    found = consume()
    assert {service for service, _ in found} == {"time-manager"}
    assert {type_ for _, type_ in found} <= {"ClockChanged", "PhaseChanged"}
    until("the world is ready again", lambda: says("AllServicesReady"), seconds=60)
    assert letters("list") == "no dead letters\n"
