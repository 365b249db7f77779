"""asyncio: a sink for one question and one answer."""

import asyncio

from gameai.inference.v1 import inference_pb2 as pb


class SingleAnswer:
    """A sink for one question and one answer."""

    defers, timed = False, True

    def __init__(self) -> None:
        self.closed = False
        self._answer: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: pb.Answer, *, last: bool) -> None:  # noqa: ARG002 - a sink's signature
        """Take the answer."""
        if not self._answer.done():
            self._answer.set_result(answer)

    def append(self, question: int, text: str) -> bool:
        """A single answer is not delivered in parts."""
        raise NotImplementedError

    async def wait(self) -> pb.Answer:
        """The answer."""
        return await self._answer
