"""The event bus as the chart runs it: worlds of real pods publish, and go on after each part of it was replaced."""

import base64
from collections.abc import Callable

from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import until
from support import real

Kubectl = Callable[..., str]
BUS, CONTROLLER = "gameai-operator-bus", "gameai-operator-bus-controller"
# Runs in the pod of the controller, as the user that may read all. Types of events of a world after a sequence, and the last sequence.
READ = """
import asyncio, sys
from gameai.bus.batches import parsed
from gameai.bus.log import Start
from gameai.bus.login import Password
from gameai.bus.nats import NatsLog
from gameai.bus.streams import LOG

async def main():
    address, password, world, after, number = sys.argv[1:]
    login, left = Password(user="streams", password=password), int(number)
    async with NatsLog(address, login=login) as log, asyncio.timeout(100):
        subject = f"log.none.*.eldermoor.{world}.*.*"
        async for each in log.replay(LOG, subject, Start(sequence=int(after) + 1)):
            for event in parsed(each.payload).events:
                print(each.subject.rpartition(".")[2], each.sequence)
            left -= 1
            if not left:
                return

asyncio.run(main())
"""


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


def ready(api: Api) -> bool:
    pods = real.live(
        api, real.SYSTEM, "app.kubernetes.io/name in (gameai-bus,gameai-bus-controller)"
    )
    return len(pods) == 2 and all(map(real.is_ready, pods))


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
        kubectl("-n", real.SYSTEM, *replaced)
        until("the bus is ready again", lambda: ready(api), seconds=300)
        kubectl("-n", "eldermoor", "rollout", "restart", "deployment/moor-time-manager")
        kubectl(
            *("-n", "eldermoor", "rollout", "status", "deployment/moor-time-manager"),
            "--timeout=120s",
        )
        found = published(api, kubectl, after=last, number=1)
        assert found[0][1] > last
        last = found[-1][1]
