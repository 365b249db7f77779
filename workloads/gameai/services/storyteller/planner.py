"""asyncio: plans beats, one at a time. The same request gives the same beat."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gameai.errors import (
    ExhaustedError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from gameai.services.storyteller.archive import Archive
from gameai.services.storyteller.author import Author
from gameai.services.storyteller.rules import prompts, records, stages
from gameai.services.storyteller.rules.prompts import Task
from gameai.services.storyteller.rules.records import KeptBeat
from gameai.services.storyteller.rules.replies import Written
from gameai.storyteller.v1 import storyteller_pb2 as pb

_TRUST = 50
_MOST_REMEMBERED = 64
# Calls that plan or wait for their turn.
_MOST_WAITING = 4
# Less is not worth to ask a language model.
_LEAST_SECONDS = 2.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Course:
    """An arc and its beats by name; a beat that is planned is added."""

    arc: pb.Arc
    beats: dict[str, pb.Beat]


class Planner:
    """One plan at a time, so that no stage of an arc is taken twice. `now` gives the second of world time."""

    def __init__(
        self, archive: Archive, author: Author, now: Callable[[], int], budget: int
    ) -> None:
        self._archive = archive
        self._author = author
        self._now = now
        self._budget = budget
        self._turn = asyncio.Lock()
        self._waiting = 0
        # As last read, for plans while the memory does not answer.
        self._courses: OrderedDict[str, _Course] = OrderedDict()

    async def plan(
        self, request_id: str, arc: str, situation: str, seconds: Callable[[], float]
    ) -> tuple[pb.Beat, bool]:
        """The beat of a request, and whether it was planned before. `seconds`: how long a language model may take from then on."""
        name = records.beat_name(arc, request_id)
        before = await self._known(name, arc)
        if before is not None:
            return before, True
        if self._waiting >= _MOST_WAITING:
            raise ExhaustedError(
                f"{_MOST_WAITING} calls wait to plan a beat already: call again later"
            )
        self._waiting += 1
        try:
            async with self._turn:
                return await self._plan(name, arc, situation, seconds)
        finally:
            self._waiting -= 1

    def forget(self, arc: str) -> None:
        """An arc was changed: what was read of it before does not count."""
        self._courses.pop(arc, None)

    async def _known(self, name: str, arc: str) -> pb.Beat | None:
        """A beat that was planned; while the memory does not answer, as this replica saw it last."""
        try:
            kept = await self._archive.kept_beat(name)
        except UnavailableError:
            if arc not in self._courses:
                raise
            return self._courses[arc].beats.get(name)
        return None if kept is None else kept.beat

    async def _plan(
        self, name: str, arc: str, situation: str, seconds: Callable[[], float]
    ) -> tuple[pb.Beat, bool]:
        try:
            # The call before may have had the same request id.
            before = await self._known(name, arc)
            if before is not None:
                return before, True
            course = await self._course(arc)
            task = await self._task(course, situation)
        except UnavailableError:
            if arc not in self._courses:
                raise
            beat = self._beat(name, self._courses[arc], pb.DEGRADED_REASON_NO_MEMORY)
            return beat, False
        if seconds() < _LEAST_SECONDS:
            raise ExhaustedError(
                f"less than {_LEAST_SECONDS:.0f} s are left for a language model: give a longer deadline, of at least 10 s. One"
                " beat is planned at a time"
            )
        planned = await self._planned(name, course, task, seconds())
        course.beats[planned.name] = planned
        return planned, False

    async def _course(self, name: str) -> _Course:
        arc = await self._archive.arc(name)
        if arc is None or arc.closed:
            self._courses.pop(name, None)
        if arc is None:
            raise NotFoundError(
                f"this world has no arc {name}: create it with WriteArc", field="arc"
            )
        if arc.closed:
            raise InvalidArgumentError(
                f"arc {name} is closed: reopen it with WriteArc, or name another one", field="arc"
            )
        beats = await self._archive.all_beats(name)
        course = _Course(arc=arc, beats={each.name: each for each in beats})
        self._courses[name] = course
        self._courses.move_to_end(name)
        if len(self._courses) > _MOST_REMEMBERED:
            self._courses.popitem(last=False)
        return course

    async def _task(self, course: _Course, situation: str) -> Task:
        about = f"{situation} {course.arc.goal}"
        found = await self._archive.found(about, _TRUST, self._budget)
        known = await self._archive.known(situation)
        beats = [each for each in course.beats.values() if each.state != pb.BEAT_STATE_DROPPED]
        return prompts.beat(course.arc, situation, beats, known, found)

    async def _planned(self, name: str, course: _Course, task: Task, seconds: float) -> pb.Beat:
        beat = self._beat(name, course, await self._author.write(task, seconds))
        try:
            return await self._written(beat)
        except InvalidArgumentError as error:
            # The memory refuses what addresses a language model. Stages were admitted as part of their arc.
            if beat.stage:
                raise
            _LOG.warning("beat %s is not kept as the tier wrote it: %s", name, error)
        return await self._written(self._beat(name, course, pb.DEGRADED_REASON_INVALID_ANSWER))

    async def _written(self, beat: pb.Beat) -> pb.Beat:
        kept = KeptBeat(beat=beat, digest=records.plan_digest())
        return await self._archive.write_beat(kept, beat.world_seconds)

    def _beat(
        self, name: str, course: _Course, written: "Written | pb.DegradedReason.ValueType"
    ) -> pb.Beat:
        beat = pb.Beat(
            name=name,
            arc=course.arc.name,
            state=pb.BEAT_STATE_PLANNED,
            world_seconds=self._now(),
        )
        if isinstance(written, Written):
            beat.text = written.text
            beat.citations.extend(each.citation for each in written.sources)
            return beat
        beat.stage = stages.following(course.arc, course.beats.values())
        if not beat.stage:
            why = pb.DegradedReason.Name(written).removeprefix("DEGRADED_REASON_")
            raise UnavailableError(
                f"no text from a language model ({why}), and a beat was made from each stage of arc {beat.arc}: call again"
                " later, or add stages with WriteArc"
            )
        beat.text = course.arc.stages[beat.stage - 1]
        beat.degraded_reason = written
        return beat
