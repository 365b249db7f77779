"""PURE: the next beat of an arc without a language model: its first stage that no beat was made from."""

from collections.abc import Iterable

from gameai.storyteller.v1 import storyteller_pb2 as pb


def following(arc: pb.Arc, beats: Iterable[pb.Beat]) -> int:
    """The number of the stage, from 1; 0: none is left. A stage whose beat was dropped can be taken again."""
    taken = {each.stage for each in beats if each.state != pb.BEAT_STATE_DROPPED}
    return next((n for n in range(1, len(arc.stages) + 1) if n not in taken), 0)
