"""Children of kinds of other projects, which may not be installed or not answer for a moment."""

from typing import Any

import pytest
from support import tiers
from support.fakes import ROOT, World

BY_KEDA = {"driver": "KEDA", "maxReplicas": 9}


@pytest.fixture
def world() -> World:
    made = World()
    made.see(tiers.resource(scaling=BY_KEDA))
    return made


async def calls(world: World) -> list[str]:
    """What is done to ScaledObjects."""
    found, _ = await world.reconcile()
    return [each for each in found if "ScaledObject" in each]


def rescaled(world: World, scaling: dict[str, Any]) -> None:
    root = world.cluster.objects[ROOT]
    root["spec"]["scaling"] = scaling
    world.see(root)


async def test_an_object_is_written_once_its_kind_is_served(world: World) -> None:
    world.absent.add("ScaledObject")
    assert await calls(world) == []
    assert world.condition("Stalled")["status"] == "False"
    world.absent.clear()
    assert await calls(world) == ["apply ScaledObject/gold"]


async def test_an_object_stays_while_its_kind_does_not_answer(world: World) -> None:
    await calls(world)
    world.absent.add("ScaledObject")
    rescaled(world, BY_KEDA | {"maxReplicas": 7})
    assert await calls(world) == []
    world.absent.clear()
    assert await calls(world) == ["apply ScaledObject/gold force"]


async def test_an_object_that_is_not_wanted_goes_whether_its_kind_answers_or_not(
    world: World,
) -> None:
    await calls(world)
    world.absent.add("ScaledObject")
    rescaled(world, {"maxReplicas": 9})
    assert [each.split()[0] for each in await calls(world)] == ["get", "delete"]
