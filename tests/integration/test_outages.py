"""An API server that goes away, comes back, and answers in every wrong way: the operator lives through all of it."""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import Answer, Arrival, DropError, Proxy, status_answer
from gameai_devcluster.testing.waiting import settled, until, world_settled
from support import crashing
from support.live import manifest, world

# 10 × the stated 30 s.
CONVERGED_SECONDS = 300.0
MOST_REQUESTS_A_SECOND = 5.0
FAULTS_SECONDS = 8.0
FEWEST_FAULTS = 5
WORLDS = 3
FLAGS: dict[str, str | float] = {
    "lease_name": "outages",
    "lease_seconds": 15,
    "lease_renew_seconds": 10,
    "lease_retry_seconds": 2,
    "resync_seconds": 30,
}


@dataclass
class Stage:
    """An operator behind a proxy, and what an undisturbed namespace comes to."""

    api: Api
    proxy: Proxy
    operator: Operator
    reference: list[Json]

    def declare(self, namespace: str) -> None:
        declare(self.api, namespace)

    def converged(self, namespace: str, since: float, what: str) -> None:
        """Wait until all is as in the reference: no child is missing, none is twice there."""
        until(what, lambda: ready(self.api, namespace), seconds=CONVERGED_SECONDS)
        print(f"{what}: converged {time.monotonic() - since:.1f} s after (bar 30 s)")
        assert self.operator.alive()
        until(
            f"{what}: as in the reference",
            lambda: crashing.snapshot(self.api, namespace) == self.reference,
            seconds=120,
        )


def declare(api: Api, namespace: str) -> None:
    api.apply(manifest(namespace), manager="kubectl")
    for number in range(WORLDS):
        roles = [{"name": "dialogue", "tierRef": {"name": "gold"}}]
        api.apply(world(namespace, name=f"w{number}", seed=number, roles=roles), manager="kubectl")


def ready(api: Api, namespace: str) -> bool:
    worlds = api.list("GameWorld", namespace)
    tiers = api.list("ModelTier", namespace)
    return all(map(world_settled, worlds)) and all(map(settled, tiers)) and len(worlds) == WORLDS


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    credentials = api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / "outages.kubeconfig", server=proxy.url)
    launch = Launch(kubeconfig=kubeconfig, log=folder / "outages.log", flags=FLAGS)
    operator = Operator(launch).wait_ready()
    install.namespace(api, "undisturbed")
    declare(api, "undisturbed")
    until("the reference is ready", lambda: ready(api, "undisturbed"), seconds=120)
    reference = crashing.at_rest(api, "undisturbed")
    yield Stage(api=api, proxy=proxy, operator=operator, reference=reference)
    assert operator.alive(), "it never ended"
    operator.kill()
    proxy.close()


@pytest.fixture(autouse=True)
def _faultless(stage: Stage) -> Iterator[None]:
    yield
    stage.proxy.reset()


def gone(_: Arrival) -> Answer | None:
    raise DropError


def outage(stage: Stage, seconds: float) -> float:
    """No answer to anything for so long; the requests in a second that the operator tried."""
    stage.proxy.arrivals.clear()
    stage.proxy.fault = gone
    stage.proxy.cut_watches()
    began = time.monotonic()
    time.sleep(seconds)
    tried, passed = len(stage.proxy.arrivals), time.monotonic() - began
    stage.proxy.fault = None
    return tried / passed


def outages(stage: Stage, namespace: str, *, first: float, flaps: int, flap: float) -> None:
    stage.declare(namespace)
    rates = [outage(stage, first)]
    for _ in range(flaps):
        time.sleep(flap)
        rates.append(outage(stage, flap))
    print(f"requests in a second while it was gone: {[round(each, 1) for each in rates]}")
    stage.converged(namespace, time.monotonic(), "after the outages")
    assert rates[0] < MOST_REQUESTS_A_SECOND
    if flap > 10:
        assert max(rates) < MOST_REQUESTS_A_SECOND
    assert stage.operator.get("/livez") == (200, "ok\n")


def test_an_api_server_that_is_gone_and_flaps_is_waited_for(stage: Stage, namespace: str) -> None:
    outages(stage, namespace, first=40, flaps=2, flap=4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_minutes_without_an_api_server_and_ten_flaps(stage: Stage, namespace: str) -> None:
    outages(stage, namespace, first=120, flaps=10, flap=15)


def through(stage: Stage, namespace: str) -> None:
    """Until all is as declared in spite of the faults, or for so long."""
    with contextlib.suppress(AssertionError):
        until("ready under faults", lambda: ready(stage.api, namespace), seconds=FAULTS_SECONDS)


def sometimes(chance: random.Random, share: float, answer: Answer) -> Callable[..., Answer | None]:
    """This answer to a share of all requests but those of the Lease."""

    def fault(arrival: Arrival) -> Answer | None:
        leased = "/leases" in arrival.path
        return answer if not leased and chance.random() < share else None

    return fault


WRONG = {
    "429": status_answer(429, "TooManyRequests", **{"Retry-After": "1"}),
    "500": status_answer(500, "InternalError"),
    "503": status_answer(503, "ServiceUnavailable"),
    "409": status_answer(409, "Conflict"),
    "504 after it was carried out": Answer(
        status=504, headers={"Content-Type": "application/json"}, body="{}", commits=True
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_to_some_requests_delay_and_change_nothing(
    name: str, stage: Stage, namespace: str, seed: int
) -> None:
    answer = WRONG[name]
    fault = sometimes(random.Random(seed), 0.5, answer)

    brought: list[str] = []

    def writes_only(arrival: Arrival) -> Answer | None:
        # A read that is carried out and then refused is an ordinary refusal; reads are refused by the others too.
        found = fault(arrival) if arrival.write or not answer.commits else None
        if found:
            brought.append(arrival.path)
        return found

    stage.proxy.fault = writes_only
    stage.declare(namespace)
    through(stage, namespace)
    stage.proxy.fault = None
    assert len(brought) >= FEWEST_FAULTS
    stage.converged(namespace, time.monotonic(), f"after {name}")


def test_answers_that_are_lost_after_the_write_change_nothing(
    stage: Stage, namespace: str, seed: int
) -> None:
    chance = random.Random(seed)

    lost: list[object] = []

    def lose(named: object) -> None:
        if chance.random() < 0.5:
            lost.append(named)
            raise DropError

    stage.proxy.after = lose
    stage.declare(namespace)
    through(stage, namespace)
    stage.proxy.after = None
    assert len(lost) >= FEWEST_FAULTS
    stage.converged(namespace, time.monotonic(), "after lost answers")


def test_a_rotated_token_is_read_again(stage: Stage, namespace: str) -> None:
    """Every request is refused once with 401, as after a rotation; then the new token is good."""
    refused = threading.Event()
    until_then = math.inf

    def fault(arrival: Arrival) -> Answer | None:
        nonlocal until_then
        until_then = min(until_then, arrival.at + 3.0)
        if arrival.at >= until_then:
            return None
        refused.set()
        return status_answer(401, "Unauthorized")

    stage.proxy.fault = fault
    stage.declare(namespace)
    assert refused.wait(60)
    stage.converged(namespace, time.monotonic(), "after 401")


def watch_fault(answer: Answer | None) -> Callable[[Arrival], Answer | None]:
    """What every new watch gets: an answer, or the end at once."""

    def fault(arrival: Arrival) -> Answer | None:
        if arrival.watch and answer is None:
            raise DropError
        return answer if arrival.watch else None

    return fault


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("410", status_answer(410, "Expired")),
        ("500", status_answer(500, "InternalError")),
        ("closed at once", None),
    ],
)
def test_watches_that_are_cut_and_answered_wrongly_are_taken_up_again(
    name: str, answer: Answer | None, stage: Stage, namespace: str, seed: int
) -> None:
    chance = random.Random(seed)
    stage.declare(namespace)
    for _ in range(3):
        time.sleep(chance.uniform(0.1, 1.0))
        stage.proxy.fault = watch_fault(answer)
        stage.proxy.cut_watches()
        time.sleep(chance.uniform(0.5, 2.0))
        stage.proxy.fault = None
    stage.converged(namespace, time.monotonic(), f"after watches were {name}")


def test_watches_cut_at_random_lose_nothing(stage: Stage, namespace: str, seed: int) -> None:
    chance = random.Random(seed)
    stage.declare(namespace)
    for _ in range(8):
        time.sleep(chance.uniform(0.1, 0.8))
        stage.proxy.cut_watches()
    stage.converged(namespace, time.monotonic(), "after cuts")
