"""PURE: which consumers of worlds are to be created, changed and removed at the brokers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gameai.bus import subjects
from gameai.bus.group import WorldGroup
from gameai.bus.streams import ConsumerUse, Durable
from gameai.bus.subjects import Address
from gameai.bus_controller.grants import Grant

# Each service has two consumers, and each of these is agreed on by the servers that have it: NATS warns of more than 1,000.
MOST_CONSUMERS = 450
# One namespace must not take all of them.
MOST_OF_NAMESPACE = 100


# Stream and name.
ConsumerKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What is to be declared. `unwanted` may be wanted by a world that is not known yet; `refused` exceed a limit."""

    create: tuple[Durable, ...] = ()
    change: tuple[Durable, ...] = ()
    unwanted: tuple[ConsumerUse, ...] = ()
    refused: tuple[WorldGroup, ...] = ()


def wanted(granted: Iterable[Grant]) -> dict[str, WorldGroup]:
    """The consumers of these grants, by name."""
    return {each.name: each for grant in granted for each in grant.consumers}


def changes(groups: Mapping[str, WorldGroup], present: Sequence[ConsumerUse]) -> Changes:
    """What is to be done where these are wanted and those exist. A consumer that exists never loses its place to another."""
    existing = {(each.stream, each.name): each for each in present}
    names = {each.name for each in present}
    places = Counter(name.partition("_")[0] for name in names)
    admitted, refused = [], []
    for name in sorted(groups):
        group = groups[name]
        if name not in names:
            namespace = group.world.namespace
            if places[namespace] >= MOST_OF_NAMESPACE or places.total() >= MOST_CONSUMERS:
                refused.append(group)
                continue
            places[namespace] += 1
        admitted.append(group)
    durables = [each for group in admitted for each in (group.durable(), group.redrives())]
    found = [(existing.get((each.stream.name, each.name)), each) for each in durables]
    return Changes(
        create=tuple(each for use, each in found if use is None),
        change=tuple(each for use, each in found if use and differs(use, each)),
        unwanted=tuple(each for each in present if each.world and each.name not in groups),
        refused=tuple(refused),
    )


def differs(use: ConsumerUse, durable: Durable) -> bool:
    """Whether a consumer is declared otherwise. Of one whose server is away that is not known, and it stays."""
    return bool(use.digest) and use.digest != durable.digest


def again(groups: Mapping[str, WorldGroup], use: ConsumerUse) -> Durable | None:
    """The declaration of a consumer as these worlds want it; None: they do not, or it is as declared."""
    group = groups.get(use.name)
    if group is None:
        return None
    durable = next(
        each for each in (group.durable(), group.redrives()) if each.stream.name == use.stream
    )
    return durable if differs(use, durable) else None


def own_letters(name: str) -> str:
    """The subject of the dead letters of a world's consumer. Labels have no `_`."""
    namespace, world, number, service = name.split("_")
    address = Address(
        world_set=subjects.OWN_SET,
        namespace=namespace,
        world=world,
        number=int(number, 16),
        service=service,
    )
    return subjects.dead_letters(address, service)
