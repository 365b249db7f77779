"""How many questions a frame has, counted from its bytes."""

import pytest
from gameai.gateway.rpc.frame_check import crowded
from gameai.inference.v1 import inference_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.lists(st.text(max_size=200), max_size=8),
    st.lists(st.integers(0, 2**64 - 1), max_size=80),
    st.booleans(),
)
def test_a_frame_is_crowded_only_where_it_has_more(
    npcs: list[str], cancelled: list[int], players: bool
) -> None:
    questions = [pb.Question(id=n, npc=npc.replace("\ud800", "")) for n, npc in enumerate(npcs)]
    frame = pb.StreamAnswersRequest(world="a/b", questions=questions, cancelled_ids=cancelled)
    if players:
        frame.players.online = 5
    data = frame.SerializeToString()
    assert crowded(data, 4) >= (len(questions) > 4)
    assert crowded(data, 4) <= (len(questions) > 4 or len(cancelled) > 4)
    assert not crowded(data, 80)


def test_half_a_million_empty_questions_are_counted_as_far_as_needed() -> None:
    assert crowded(b"\x0a\x00" * 500_000, 256)
    assert crowded(b"\x20\x01" * 300, 256), "numbers that are not packed"
    for field in (b"\x1a\x00", b"\x28\x00", b"\x22\x00"):
        assert crowded(field * 1000, 256), "to look at a whole MiB of these would take too long"
    assert not crowded(b"\x09" + b"x" * 8 + b"\x0d" + b"x" * 4, 256), "fields of a newer client"


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05x", b"\xff" * 12, b"\x0b", b"\x0a\xff\xff\xff\xff\x0f"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no"):
        crowded(data, 256)
