import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from gameai_operator.cluster.lease import Elector, WriteGate
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.manifest import Resource
from gameai_operator.settings import LeaseSettings

FAST = LeaseSettings(identity="me", duration_seconds=0.3, renew_seconds=0.2, retry_seconds=0.02)
PATIENT = dataclasses.replace(FAST, duration_seconds=3600, renew_seconds=1800)


class FakeLeases:
    """One Lease with optimistic concurrency; `down` makes every call fail, `slow` makes it hang."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        self.slow = False
        self.puts = 0

    async def _answer(self) -> None:
        if self.slow:
            await asyncio.sleep(60)
        if self.down:
            raise ApiError(0, "NoAnswer", "down")

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        await self._answer()
        return self.lease

    async def put(
        self, resource: Resource, document: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        await self._answer()
        given = document["metadata"].get("resourceVersion")
        present = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if given != present:
            raise ApiError(409, "Conflict", "changed")
        return self.hold(document["spec"])

    def hold(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.puts += 1
        metadata = {"name": "x", "namespace": "y", "resourceVersion": str(self.version)}
        self.lease = {"metadata": metadata, "spec": dict(spec)}
        return self.lease


class Leading:
    """Counts terms and tells whether one is on."""

    def __init__(self) -> None:
        self.terms = 0
        self.on = asyncio.Event()

    async def __call__(self) -> None:
        self.terms += 1
        self.on.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.on.clear()


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


@pytest.fixture
def gate() -> WriteGate:
    return WriteGate()


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def wait_for(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def open_(gate: WriteGate) -> bool:
    try:
        gate()
    except NotLeadingError:
        return False
    return True


async def test_a_free_lease_is_taken_and_renewed(leases: FakeLeases, gate: WriteGate) -> None:
    lead = Leading()
    task = asyncio.create_task(Elector(leases, PATIENT, gate).run(lead))
    await wait_for(lead.on.is_set)
    assert open_(gate)
    puts = leases.puts
    await wait_for(lambda: leases.puts > puts + 2)
    assert lead.terms == 1
    await stopped(task)
    assert not open_(gate)


async def test_a_held_lease_is_waited_for_until_it_was_not_renewed(
    leases: FakeLeases, gate: WriteGate
) -> None:
    leases.hold({"holderIdentity": "other", "leaseDurationSeconds": 1})
    lead = Leading()
    task = asyncio.create_task(Elector(leases, FAST, gate).run(lead))
    await asyncio.sleep(0.5)
    assert lead.terms == 0
    await wait_for(lead.on.is_set)
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1
    await stopped(task)


async def test_a_released_lease_is_taken_at_once(leases: FakeLeases, gate: WriteGate) -> None:
    leases.hold({"holderIdentity": "", "leaseDurationSeconds": 3600})
    lead = Leading()
    task = asyncio.create_task(Elector(leases, FAST, gate).run(lead))
    await wait_for(lead.on.is_set)
    await stopped(task)


async def test_releasing_leaves_none_as_holder(leases: FakeLeases, gate: WriteGate) -> None:
    elector, lead = Elector(leases, FAST, gate), Leading()
    task = asyncio.create_task(elector.run(lead))
    await wait_for(lead.on.is_set)
    await stopped(task)
    await elector.release()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize("interrupted", ["in a renewal", "after another write"])
async def test_a_lease_is_released_though_its_newest_version_is_not_known(
    leases: FakeLeases, gate: WriteGate, interrupted: str
) -> None:
    elector, lead = Elector(leases, FAST, gate), Leading()
    task = asyncio.create_task(elector.run(lead))
    await wait_for(lead.on.is_set)
    await stopped(task)
    assert leases.lease is not None
    if interrupted == "in a renewal":
        elector._lease = None
    else:
        leases.hold(leases.lease["spec"])
    await elector.release()
    assert leases.lease["spec"]["holderIdentity"] == ""


async def test_a_lease_of_another_is_not_released(leases: FakeLeases, gate: WriteGate) -> None:
    elector, lead = Elector(leases, FAST, gate), Leading()
    task = asyncio.create_task(elector.run(lead))
    await wait_for(lead.on.is_set)
    await stopped(task)
    leases.hold({"holderIdentity": "other", "leaseDurationSeconds": 3600})
    await elector.release()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "other"


@pytest.mark.parametrize("fault", ["down", "slow"])
async def test_an_outage_ends_the_term_and_its_end_begins_another(
    leases: FakeLeases, gate: WriteGate, fault: str
) -> None:
    lead = Leading()
    task = asyncio.create_task(Elector(leases, FAST, gate).run(lead))
    await wait_for(lead.on.is_set)
    setattr(leases, fault, True)
    await wait_for(lambda: not lead.on.is_set())
    assert not open_(gate)
    setattr(leases, fault, False)
    await wait_for(lead.on.is_set)
    assert lead.terms == 2
    await stopped(task)


async def test_a_gate_that_closed_does_not_open_in_the_same_term(
    leases: FakeLeases, gate: WriteGate
) -> None:
    lead = Leading()
    task = asyncio.create_task(Elector(leases, FAST, gate).run(lead))
    await wait_for(lead.on.is_set)
    leases.slow = True
    await wait_for(lambda: not open_(gate))
    leases.slow = False
    await wait_for(lambda: open_(gate) and lead.on.is_set())
    assert lead.terms == 2
    await stopped(task)


async def test_a_stolen_lease_closes_the_gate(leases: FakeLeases, gate: WriteGate) -> None:
    lead = Leading()
    task = asyncio.create_task(Elector(leases, PATIENT, gate).run(lead))
    await wait_for(lead.on.is_set)
    leases.hold({"holderIdentity": "thief", "leaseDurationSeconds": 60})
    await wait_for(lambda: not lead.on.is_set())
    assert not open_(gate)
    await stopped(task)


async def test_a_term_that_fails_ends_the_election(leases: FakeLeases, gate: WriteGate) -> None:
    async def lead() -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await Elector(leases, FAST, gate).run(lead)
    assert not open_(gate)


async def test_the_lease_shows_whole_seconds_rounded_up(
    leases: FakeLeases, gate: WriteGate
) -> None:
    lead = Leading()
    task = asyncio.create_task(Elector(leases, FAST, gate).run(lead))
    await wait_for(lead.on.is_set)
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseDurationSeconds"] == 1
    await stopped(task)


async def test_only_an_eligible_process_leads_and_one_that_is_no_longer_gives_the_lease_up(
    leases: FakeLeases, gate: WriteGate
) -> None:
    """Under CRDs of an older release every status write would fail: another process may lead instead."""
    eligible = False
    leading = Leading()
    elector = Elector(leases, FAST, gate, lambda: eligible)
    task = asyncio.create_task(elector.run(leading))
    await asyncio.sleep(0.1)
    assert (leading.terms, leases.lease) == (0, None)
    eligible = True
    await asyncio.wait_for(leading.on.wait(), 5)
    eligible = False
    while leading.on.is_set():
        await asyncio.sleep(0.01)
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""
    with pytest.raises(NotLeadingError):
        gate()
    await stopped(task)
