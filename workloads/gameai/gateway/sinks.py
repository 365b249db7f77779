"""EDGE: where the answers of single calls go."""

import asyncio
from collections.abc import AsyncIterator

from gameai.inference.v1 import inference_pb2 as pb

# A text that its reader does not take is held up to so many characters; then the engine is read no further.
_MOST_UNREAD = 16 << 10


class Single:
    """A sink for one question and one answer."""

    defers = False

    def __init__(self) -> None:
        self.closed = False
        self._answer: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: pb.Answer, *, last: bool) -> None:  # noqa: ARG002 - a sink's signature
        """Take the answer."""
        if not self._answer.done():
            self._answer.set_result(answer)

    def spoke(self, question: int, text: str) -> bool:
        """A single answer is not told in parts."""
        raise NotImplementedError

    async def wait(self) -> pb.Answer:
        """The answer."""
        return await self._answer


class Spoken:
    """A sink for a streamed text, which is bounded: beyond it the engine is read no further."""

    defers = False

    def __init__(self) -> None:
        self.closed = False
        self._messages: asyncio.Queue[pb.GenerateTextResponse] = asyncio.Queue()
        self._unread = 0
        self._paused = False

    def answer(self, answer: pb.Answer, *, last: bool) -> None:  # noqa: ARG002 - a sink's signature
        """The end."""
        self._messages.put_nowait(pb.GenerateTextResponse(end=answer))

    def spoke(self, question: int, text: str) -> bool:  # noqa: ARG002 - same
        """A part."""
        self._messages.put_nowait(pb.GenerateTextResponse(text=text))
        self._unread += len(text)
        self._paused = self._paused or self._unread > _MOST_UNREAD
        return not self._paused

    def resumes(self) -> bool:
        """Whether there is room again after there was none."""
        if not self._paused or self._unread > _MOST_UNREAD // 2:
            return False
        self._paused = False
        return True

    async def messages(self) -> AsyncIterator[pb.GenerateTextResponse]:
        """Parts, then the end."""
        while True:
            message = await self._messages.get()
            self._unread -= len(message.text)
            yield message
            if message.WhichOneof("part") == "end":
                return
