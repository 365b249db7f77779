"""asyncio: plans beats and resolves them; each step can be repeated, so that a call that was cut short is made whole by the next."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gameai.errors import (
    ConflictError,
    ExhaustedError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from gameai.knowledge.v1 import history_pb2
from gameai.services.storyteller.archive import Archive
from gameai.services.storyteller.author import Author
from gameai.services.storyteller.rules import prompts, records, stages
from gameai.services.storyteller.rules.prompts import Task
from gameai.services.storyteller.rules.replies import Written
from gameai.storyteller.v1 import storyteller_pb2 as pb

_TRUST = 50
_MOST_REMEMBERED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Course:
    """An arc and its beats."""

    arc: pb.Arc
    beats: tuple[pb.Beat, ...]


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
        # As last read, for plans while the memory does not answer.
        self._courses: OrderedDict[str, _Course] = OrderedDict()

    async def plan(
        self, request_id: str, arc: str, situation: str, seconds: Callable[[], float]
    ) -> tuple[pb.Beat, bool]:
        """The beat of a request, and whether it was planned before. `seconds`: how long a language model may take from then on."""
        name = records.beat_name(arc, request_id)
        async with self._turn:
            if seconds() <= 0:
                raise ExhaustedError(
                    "no time is left for a language model: one beat is planned at a time, so give a longer deadline"
                )
            try:
                before = await self._archive.beat(name)
                if before is not None:
                    return before, True
                course = await self._course(arc)
                task = await self._task(course, situation)
            except UnavailableError:
                if arc not in self._courses:
                    raise
                beat = self._beat(name, self._courses[arc], pb.DEGRADED_REASON_NO_MEMORY)
                return beat, False
            return await self._planned(name, course, task, seconds()), False

    async def resolve(self, request: pb.ResolveBeatRequest, happened: str) -> pb.Beat:
        """What became of a beat: the event, then what it caused, then the beat, which says that all is done."""
        before = await self._archive.beat(request.beat)
        if before is None:
            raise NotFoundError(
                f"this world has no beat {request.beat}: ListBeats has those of an arc",
                field="beat",
            )
        wanted = _resolved(before, happened, self._now())
        done = await self._archive.written_beat(wanted, request.expected_version)
        if done is not None:
            return done
        if (before.version, before.state) != (request.expected_version, pb.BEAT_STATE_PLANNED):
            state = records.STATE_NAMES.get(before.state, "of no known state")
            raise ConflictError(
                f"beat {before.name} is at version {before.version} and {state}: only a planned one can be resolved,"
                " with expected_version as it is",
                field="expected_version",
            )
        if happened:
            wanted.event_sequence = await self._append(request, happened, wanted.world_seconds)
            for change in request.changes:
                await self._archive.change(change, wanted.world_seconds, wanted.event_sequence)
        return await self._archive.write_beat(
            wanted, before.version, wanted.world_seconds, wanted.event_sequence
        )

    async def _append(self, request: pb.ResolveBeatRequest, happened: str, now: int) -> int:
        event = history_pb2.Event(
            key=records.event_key(request.beat, happened),
            world_seconds=now,
            kind=records.EVENT_KIND,
            summary=happened,
            participants=request.participants,
            evidence=history_pb2.EVIDENCE_SYSTEM,
        )
        return await self._archive.append(event)

    async def _course(self, name: str) -> _Course:
        arc = await self._archive.arc(name)
        if arc is None:
            raise NotFoundError(
                f"this world has no arc {name}: create it with WriteArc", field="arc"
            )
        if arc.closed:
            raise InvalidArgumentError(
                f"arc {name} is closed: reopen it with WriteArc, or name another one", field="arc"
            )
        course = _Course(arc=arc, beats=tuple(await self._archive.all_beats(name)))
        self._courses[name] = course
        self._courses.move_to_end(name)
        if len(self._courses) > _MOST_REMEMBERED:
            self._courses.popitem(last=False)
        return course

    async def _task(self, course: _Course, situation: str) -> Task:
        about = f"{situation} {course.arc.goal}"
        found = await self._archive.found(about, _TRUST, self._budget)
        known = await self._archive.known(situation)
        beats = [each for each in course.beats if each.state != pb.BEAT_STATE_DROPPED]
        return prompts.beat(course.arc, situation, beats, known, found)

    async def _planned(self, name: str, course: _Course, task: Task, seconds: float) -> pb.Beat:
        beat = self._beat(name, course, await self._author.write(task, seconds))
        try:
            return await self._archive.write_beat(beat, 0, beat.world_seconds)
        except InvalidArgumentError:
            # The memory refuses what addresses a language model. Stages were admitted as part of their arc.
            if beat.stage:
                raise
        beat = self._beat(name, course, pb.DEGRADED_REASON_INVALID_ANSWER)
        return await self._archive.write_beat(beat, 0, beat.world_seconds)

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
        beat.stage = stages.following(course.arc, course.beats)
        if not beat.stage:
            raise UnavailableError(
                f"no tier answered for arc {beat.arc}, and a beat was made from each of its stages: try again later, or add"
                " stages with WriteArc"
            )
        beat.text = course.arc.stages[beat.stage - 1]
        beat.degraded_reason = written
        return beat


def _resolved(before: pb.Beat, happened: str, now: int) -> pb.Beat:
    wanted = pb.Beat()
    wanted.CopyFrom(before)
    wanted.state = pb.BEAT_STATE_HAPPENED if happened else pb.BEAT_STATE_DROPPED
    wanted.text = happened or before.text
    wanted.world_seconds = max(now, before.world_seconds)
    return wanted
