"""PURE: equal questions at the same time. One of them (the leader) calls an engine, the others wait for its answer."""

from __future__ import annotations

import heapq
import itertools
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar


class Member(Protocol):
    """A question with its deadline, in seconds of one clock, and the flight that it leads or follows.

    It is `waiting` while no engine has been called for it.
    """

    deadline: float
    waiting: bool
    flight: Flight[Any] | None


J = TypeVar("J", bound=Member)

# Of one flight; more are a flood.
MOST_FOLLOWERS = 4096
_NUMBERS = itertools.count()


class Flight(Generic[J]):
    """A leader and its followers, the earliest deadline first. Every operation takes at most logarithmic time."""

    __slots__ = ("_followers", "_heap", "key", "leader")

    def __init__(self, key: bytes, leader: J) -> None:
        self.key = key
        self.leader = leader
        self._followers: set[J] = set()
        self._heap: list[tuple[float, int, J]] = []

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def full(self) -> bool:
        """Whether no further inquiry may follow."""
        return len(self._followers) >= MOST_FOLLOWERS

    def follow(self, inquiry: J) -> None:
        """An inquiry waits for the leader's answer."""
        inquiry.flight = self
        self._followers.add(inquiry)
        heapq.heappush(self._heap, (inquiry.deadline, next(_NUMBERS), inquiry))
        if len(self._heap) > 2 * MOST_FOLLOWERS:
            self._heap = [each for each in self._heap if each[2] in self._followers]
            heapq.heapify(self._heap)

    def unfollow(self, inquiry: J) -> None:
        """A follower waits no longer."""
        inquiry.flight = None
        self._followers.discard(inquiry)

    def lead(self, inquiry: J) -> J:
        """Make an inquiry that does not follow the leader. The former leader belongs to no flight."""
        before, self.leader = self.leader, inquiry
        before.flight, inquiry.flight = None, self
        return before

    def promote(self, inquiry: J) -> None:
        """Make the leader of a flight that has none of an inquiry that followed."""
        self.leader, inquiry.flight = inquiry, self

    def first(self) -> J | None:
        """The follower with the earliest deadline, which follows no longer."""
        while self._heap:
            inquiry = heapq.heappop(self._heap)[2]
            if inquiry in self._followers:
                self._followers.remove(inquiry)
                inquiry.flight = None
                return inquiry
        return None

    def take_all(self) -> list[J]:
        """All followers, the earliest deadline first; none of them follows any longer."""
        found = []
        while (inquiry := self.first()) is not None:
            found.append(inquiry)
        return found


class Join(Enum):
    """What a question does that others may have asked already."""

    LEADS = "leads"
    FOLLOWS = "follows"
    FULL = "full"


class Flights(Generic[J]):
    """All flights by what is asked. It calls nothing: what follows from a change is the caller's affair."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight[J]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: bytes, inquiry: J) -> tuple[Join, J | None]:
        """Have an inquiry lead or follow.

        One with less time does not wait in the place of one with more: it leads, and the former leader, which is
        returned too, follows and must not wait for an engine any more.
        """
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = inquiry.flight = Flight(key, inquiry)
            return Join.LEADS, None
        if flight.full:
            return Join.FULL, None
        leader = flight.leader
        if leader.waiting and inquiry.deadline < leader.deadline:
            flight.follow(flight.lead(inquiry))
            return Join.LEADS, leader
        flight.follow(inquiry)
        return Join.FOLLOWS, None

    def leave(self, inquiry: J) -> Flight[J] | None:
        """A leader leaves its flight, which has no leader for a moment. None if the inquiry led no flight."""
        flight = inquiry.flight
        if flight is None or flight.leader is not inquiry:
            return None
        inquiry.flight = None
        return flight

    def close(self, flight: Flight[J]) -> None:
        """A flight has no inquiries left."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def disband(self, inquiry: J) -> list[J]:
        """The leader's answer is there: the flight is over; those who followed, the earliest deadline first."""
        flight = self.leave(inquiry)
        if flight is None:
            return []
        self.close(flight)
        return flight.take_all()
