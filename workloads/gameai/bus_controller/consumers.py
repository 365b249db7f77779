"""PURE: which consumers of worlds are to be created, changed and removed at the brokers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gameai.bus.group import WorldGroup
from gameai.bus.streams import ConsumerUse, Durable
from gameai.bus_controller.grants import Grant

# Servers allow a stream 1,000 consumers. Some are left for those that read the worlds of a set.
MOST_CONSUMERS = 900
# One namespace must not take all of them.
MOST_OF_NAMESPACE = 200

# Stream and name.
ConsumerKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What the brokers are to be told. `unwanted` may be wanted by a world that is not known yet; `refused` exceed a limit."""

    create: tuple[Durable, ...] = ()
    change: tuple[Durable, ...] = ()
    unwanted: tuple[ConsumerUse, ...] = ()
    refused: tuple[WorldGroup, ...] = ()


def wanted(granted: Iterable[Grant]) -> dict[str, WorldGroup]:
    """The consumers of these grants, by name."""
    return {each.name: each for grant in granted for each in grant.consumers}


def changes(groups: Mapping[str, WorldGroup], present: Sequence[ConsumerUse]) -> Changes:
    """What is to be done where these are wanted and those are there. A consumer that is there never loses its place to another."""
    there = {(each.stream, each.name): each for each in present if each.world}
    names = {name for _, name in there}
    places = Counter(each.world.partition("/")[0] for each in _one_each(there.values()))
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
    found = [(there.get((each.stream.name, each.name)), each) for each in durables]
    return Changes(
        create=tuple(each for use, each in found if use is None),
        change=tuple(
            each for use, each in found if use and use.filters != tuple(sorted(each.filters))
        ),
        unwanted=tuple(each for each in there.values() if each.name not in groups),
        refused=tuple(refused),
    )


def _one_each(uses: Iterable[ConsumerUse]) -> Iterable[ConsumerUse]:
    """One of the two consumers of a service."""
    return {each.name: each for each in uses}.values()
