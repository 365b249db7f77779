"""What the client sends in one frame."""

import asyncio

import pytest
from gameai.client.asked import Asked
from gameai.client.gateway import Gateway
from gameai.client.reply import AskError
from gameai.client.stream import MOST_FRAME, _fitting
from gameai.inference.v1 import inference_pb2 as pb


@pytest.mark.parametrize(
    ("many", "characters", "expected"),
    [(3, 10, 3), (40, 10, MOST_FRAME), (5, 150 << 10, 3), (2, 800 << 10, 1)],
)
async def test_a_frame_has_so_many_questions_as_a_gateway_takes(
    many: int, characters: int, expected: int
) -> None:
    asked = [
        Asked(pb.Question(id=n, prompt=pb.Prompt(parts=["x" * characters])), None)
        for n in range(many)
    ]
    assert _fitting(asked) == expected
    for each in asked:
        each.timer.cancel()


async def test_a_question_that_no_gateway_takes_is_refused_at_once() -> None:
    async with Gateway("127.0.0.1:1") as ai:
        with pytest.raises(AskError, match="at most 921600 bytes"):
            await asyncio.wait_for(ai.ask(role="x", prompt="x" * (1 << 20), default="y"), 5)
