"""asyncio: what became of a beat. A call that was cut short is completed by the same call, and nothing is written twice.

The first step is a version of the beat in the state RESOLVING, which only one outcome can write. It fixes the text and the
time of the event, so that a repeated call appends the same event. The last step says that all is done.
"""

from collections.abc import Callable

from gameai.errors import ConflictError, FullError, InvalidArgumentError, NotFoundError
from gameai.knowledge.v1 import history_pb2
from gameai.services.storyteller.archive import Archive
from gameai.services.storyteller.rules import records
from gameai.services.storyteller.rules.records import KeptBeat
from gameai.storyteller.v1 import storyteller_pb2 as pb


class Resolver:
    """Resolves the beats of one world. `now` gives the second of world time."""

    def __init__(self, archive: Archive, now: Callable[[], int]) -> None:
        self._archive = archive
        self._now = now

    async def resolve(
        self, request: pb.ResolveBeatRequest, happened: str
    ) -> tuple[pb.Beat, list[str]]:
        """The beat as it is kept, and which parts the memory refused, with the reasons."""
        kept = await self._archive.kept_beat(request.beat)
        if kept is None:
            raise NotFoundError(
                f"this world has no beat {request.beat}: ListBeats has those of an arc",
                field="beat",
            )
        beat, digest = kept.beat, kept.digest
        if not _claimed(kept, request.expected_version, happened):
            _check_planned(beat, request.expected_version)
            digest = records.outcome_digest(happened)
            beat = await self._claim(beat, happened)
        if beat.state != pb.BEAT_STATE_RESOLVING:
            return beat, []
        return await self._complete(KeptBeat(beat=beat, digest=digest), request)

    async def _claim(self, planned: pb.Beat, happened: str) -> pb.Beat:
        """Raises `ConflictError` where another outcome was first."""
        wanted = pb.Beat()
        wanted.CopyFrom(planned)
        wanted.state = pb.BEAT_STATE_RESOLVING if happened else pb.BEAT_STATE_DROPPED
        wanted.text = happened or planned.text
        digest = records.outcome_digest(happened)
        now = max(self._now(), planned.world_seconds)
        return await self._archive.write_beat(KeptBeat(beat=wanted, digest=digest), now)

    async def _complete(
        self, kept: KeptBeat, request: pb.ResolveBeatRequest
    ) -> tuple[pb.Beat, list[str]]:
        claimed = kept.beat
        refused: list[str] = []
        sequence = await self._append(claimed, request, refused)
        for number, change in enumerate(request.changes):
            try:
                await self._archive.change(change, claimed.world_seconds, sequence)
            except (InvalidArgumentError, FullError) as error:
                refused.append(f"changes[{number}]: {error}")
        done = pb.Beat()
        done.CopyFrom(claimed)
        done.state = pb.BEAT_STATE_HAPPENED
        last = KeptBeat(beat=done, digest=kept.digest)
        return await self._archive.write_beat(last, claimed.world_seconds, sequence), refused

    async def _append(
        self, claimed: pb.Beat, request: pb.ResolveBeatRequest, refused: list[str]
    ) -> int:
        """The number of the beat's event; 0 where it is not to be found, because it waits for a review."""
        event = history_pb2.Event(
            key=records.event_key(claimed.name),
            world_seconds=claimed.world_seconds,
            kind=records.EVENT_KIND,
            summary=claimed.text,
            participants=request.participants,
            evidence=history_pb2.EVIDENCE_SYSTEM,
        )
        try:
            sequence = await self._archive.append(event)
        except InvalidArgumentError as error:
            # An earlier call, with other participants, may have appended it.
            sequence = await self._archive.sequence(event.key, event.world_seconds)
            if not sequence:
                refused.append(f"participants: {error}")
                sequence = await self._append_alone(event)
        if not sequence:
            refused.append("event: it is not found, because it waits for a review or was rejected")
        return sequence

    async def _append_alone(self, event: history_pb2.Event) -> int:
        """Without participants; 0 where an earlier call has appended it with those that hold it for a review."""
        del event.participants[:]
        try:
            return await self._archive.append(event)
        except InvalidArgumentError:
            return 0


def _claimed(kept: KeptBeat, expected: int, happened: str) -> bool:
    """Whether this outcome, and no other, was written for the version that the caller read."""
    same = kept.digest == records.outcome_digest(happened) or kept.beat.text == happened
    resolved = kept.beat.state in records.RESOLVED
    dropped = kept.beat.state == pb.BEAT_STATE_DROPPED
    return resolved and kept.beat.version >= expected and same and dropped == (not happened)


def _check_planned(beat: pb.Beat, expected: int) -> None:
    if (beat.version, beat.state) == (expected, pb.BEAT_STATE_PLANNED):
        return
    state = records.STATE_NAMES.get(beat.state, "of no known state")
    message = f"beat {beat.name} is at version {beat.version} and {state}: "
    if beat.state == pb.BEAT_STATE_RESOLVING:
        message += (
            "another call began to resolve it, and is completed by a call with its text as happened"
        )
    else:
        message += f"send its version as expected_version, not {expected}, and resolve planned beats only (GetBeat)"
    raise ConflictError(message, field="expected_version")
