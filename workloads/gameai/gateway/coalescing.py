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
        """Whether no further job may follow."""
        return len(self._followers) >= MOST_FOLLOWERS

    def follow(self, job: J) -> None:
        """A job waits for the leader's answer."""
        job.flight = self
        self._followers.add(job)
        heapq.heappush(self._heap, (job.deadline, next(_NUMBERS), job))
        if len(self._heap) > 2 * MOST_FOLLOWERS:
            self._heap = [each for each in self._heap if each[2] in self._followers]
            heapq.heapify(self._heap)

    def unfollow(self, job: J) -> None:
        """A follower waits no longer."""
        job.flight = None
        self._followers.discard(job)

    def lead(self, job: J) -> J:
        """Make a job that does not follow the leader. The former leader belongs to no flight."""
        before, self.leader = self.leader, job
        before.flight, job.flight = None, self
        return before

    def promote(self, job: J) -> None:
        """Make the leader of a flight that has none of a job that followed."""
        self.leader, job.flight = job, self

    def first(self) -> J | None:
        """The follower with the earliest deadline, which follows no longer."""
        while self._heap:
            job = heapq.heappop(self._heap)[2]
            if job in self._followers:
                self._followers.remove(job)
                job.flight = None
                return job
        return None

    def take_all(self) -> list[J]:
        """All followers, the earliest deadline first; none of them follows any longer."""
        found = []
        while (job := self.first()) is not None:
            found.append(job)
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

    def join(self, key: bytes, job: J) -> tuple[Join, J | None]:
        """Have a job lead or follow.

        One with less time does not wait in the place of one with more: it leads, and the former leader, which is
        returned too, follows and must not wait for an engine any more.
        """
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = job.flight = Flight(key, job)
            return Join.LEADS, None
        if flight.full:
            return Join.FULL, None
        leader = flight.leader
        if leader.waiting and job.deadline < leader.deadline:
            flight.follow(flight.lead(job))
            return Join.LEADS, leader
        flight.follow(job)
        return Join.FOLLOWS, None

    def leave(self, job: J) -> Flight[J] | None:
        """A leader leaves its flight, which has no leader for a moment. None if the job led no flight."""
        flight = job.flight
        if flight is None or flight.leader is not job:
            return None
        job.flight = None
        return flight

    def close(self, flight: Flight[J]) -> None:
        """A flight has no jobs left."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def disband(self, job: J) -> list[J]:
        """The leader's answer is there: the flight is over; those who followed, the earliest deadline first."""
        flight = self.leave(job)
        if flight is None:
            return []
        self.close(flight)
        return flight.take_all()
