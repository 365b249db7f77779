from typing import Any

import pytest
from gameai_operator.cluster.claims import LeaseClaims
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Resource


class FakeLeases:
    """Leases by namespace/name."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.error: ApiError | None = None
        self.reads = 0

    def renew(self, name: str, version: int, holder: str = "pod-1", scope: str = "") -> None:
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15}
        notes = {"gameai.dev/namespaces": scope}
        metadata = {"resourceVersion": str(version), "annotations": notes}
        self.leases[name] = {"metadata": metadata, "spec": spec}

    async def get(self, _: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        self.reads += 1
        if self.error:
            raise self.error
        return self.leases.get(f"{namespace}/{name}")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


async def test_an_operator_lives_while_its_lease_is_renewed(leases: FakeLeases) -> None:
    clock = Clock()
    claims = LeaseClaims(leases, "a/a", clock)
    for version in range(5):
        leases.renew("b/b", version)
        assert await claims.alive("b/b", "games")
        clock.now += 10
    clock.now += 16
    assert not await claims.alive("b/b", "games"), "nothing was renewed within its duration"


async def test_a_lease_that_was_given_up_or_never_was_is_no_operator(leases: FakeLeases) -> None:
    claims = LeaseClaims(leases, "a/a", Clock())
    leases.renew("b/b", 1, holder="")
    assert not await claims.alive("b/b", "games")
    assert not await claims.alive("c/c", "games")
    assert not await claims.alive("nonsense", "games")


async def test_one_answer_serves_many_objects(leases: FakeLeases) -> None:
    clock = Clock()
    claims = LeaseClaims(leases, "a/a", clock)
    leases.renew("b/b", 1)
    for _ in range(100):
        assert await claims.alive("b/b", "games")
    assert leases.reads == 1


async def test_a_lease_that_may_not_be_read_stops_no_operator_and_an_outage_is_no_answer(
    leases: FakeLeases,
) -> None:
    claims = LeaseClaims(leases, "a/a", Clock())
    leases.error = ApiError(403, "Forbidden", "no")
    assert not await claims.alive("b/b", "games")
    leases.error = ApiError(0, "NoAnswer", "down")
    with pytest.raises(ApiError):
        await claims.alive("c/c", "games")


async def test_an_operator_that_watches_other_namespaces_claims_nothing_in_this_one(
    leases: FakeLeases,
) -> None:
    claims = LeaseClaims(leases, "a/a", Clock())
    leases.renew("b/b", 1, scope="harbor,lagoon")
    assert await claims.alive("b/b", "lagoon")
    assert not await claims.alive("b/b", "games")


async def test_a_lease_that_no_operator_wrote_is_no_operator(leases: FakeLeases) -> None:
    """A node's Lease is renewed without end, and a tenant's may claim to last for years."""
    clock = Clock()
    claims = LeaseClaims(leases, "a/a", clock)
    leases.renew("kube-node-lease/node-1", 1)
    del leases.leases["kube-node-lease/node-1"]["metadata"]["annotations"]
    assert not await claims.alive("kube-node-lease/node-1", "games")
    leases.renew("b/b", 1)
    leases.leases["b/b"]["spec"]["leaseDurationSeconds"] = 2_147_483_647
    assert await claims.alive("b/b", "games")
    clock.now += 121
    assert not await claims.alive("b/b", "games")


@pytest.mark.parametrize("claim", ["../../x", "a/b/c", "a/b?x=1", "/", "A/b"])
async def test_a_claim_that_is_no_name_is_asked_for_nowhere(leases: FakeLeases, claim: str) -> None:
    claims = LeaseClaims(leases, "a/a", Clock())
    assert not await claims.alive(claim, "games")
    assert leases.reads == 0


async def test_claims_that_anybody_may_write_are_not_all_remembered(leases: FakeLeases) -> None:
    clock = Clock()
    claims = LeaseClaims(leases, "a/a", clock)
    for number in range(1000):
        assert not await claims.alive(f"x/{number}", "games")
    assert len(claims._seen) == 256
