"""PURE: the queues of jobs: one of each world, tier and priority, and which of them is served next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gameai.bus.streams import WORK, Durable
from gameai.bus.subjects import label
from gameai.gateway.jobs.records import PRIORITIES, Record

# A gateway that does not say for so long that it is still at a job has ended: the next one takes it.
_LEASE_SECONDS = 30.0
_MOST_LEASED = 1024
# A consumer that no gateway has asked for so long is forgotten, and declared again when it is needed.
_UNUSED_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """Jobs of a world that wait for a tier, both `namespace/name`, with the same priority (a number of `JobPriority`)."""

    tier: str
    world: str
    priority: int

    @property
    def subject(self) -> str:
        """Where their ids are. Raises ValueError where a name cannot be a part of it."""
        return f"{_tier_subject(self.tier)}.{_place(self.world)}.{self.priority}"

    def durable(self) -> Durable:
        """The consumer that all gateways share."""
        name = "_".join(self.subject.split(".")[1:])
        return Durable(
            name=name,
            stream=WORK,
            filters=(self.subject,),
            ack_seconds=_LEASE_SECONDS,
            most_pending=_MOST_LEASED,
            idle_seconds=_UNUSED_SECONDS,
        )


def queue_of(record: Record) -> Queue:
    """The queue of a job."""
    return Queue(tier=record.tier, world=record.job.world, priority=record.job.priority)


def queues_of(tier: str) -> str:
    """The subjects of all queues of a tier. Raises ValueError where a name cannot be a part of one."""
    return f"{_tier_subject(tier)}.>"


def parsed(subject: str) -> Queue | None:
    """The queue of a subject; None where it is none."""
    match subject.split("."):
        case ["work", tier_namespace, tier, namespace, world, priority] if priority in _NUMBERS:
            return Queue(
                tier=f"{tier_namespace}/{tier}",
                world=f"{namespace}/{world}",
                priority=int(priority),
            )
        case _:
            return None


def job_subject(world: str, job_id: str) -> str:
    """Where a job is, by the key of its world. Raises ValueError where a name cannot be a part of it."""
    return f"job.{_place(world)}.{job_id}"


def jobs_of_world(world: str) -> str:
    """The subjects of all jobs of a world, by its key."""
    return job_subject(world, "*")


def jobs_of(namespace: str) -> str:
    """The subjects of all jobs of the worlds of a namespace."""
    return f"job.{label(namespace)}.>"


def turns(waiting: Mapping[Queue, int], last: str) -> list[list[Queue]]:
    """Worlds in the order of their turns, after the one that had the last; of each its queues with jobs, the highest priority first."""
    worlds: dict[str, list[Queue]] = {}
    for queue in sorted(_filled(waiting), key=lambda each: PRIORITIES.index(each.priority)):
        worlds.setdefault(queue.world, []).append(queue)
    names = sorted(worlds)
    after = [each for each in names if each > last]
    return [worlds[each] for each in (*after, *(each for each in names if each <= last))]


def _filled(waiting: Mapping[Queue, int]) -> Iterable[Queue]:
    return (queue for queue, count in waiting.items() if count > 0)


_NUMBERS = frozenset(str(each) for each in PRIORITIES)


def _tier_subject(tier: str) -> str:
    return f"work.{_place(tier)}"


def _place(key: str) -> str:
    """`namespace/name` as two parts of a subject."""
    namespace, _, name = key.partition("/")
    return f"{label(namespace)}.{label(name)}"
