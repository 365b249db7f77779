"""EDGE: asks the story tier through the gateways, and asks again where a reply is not of the form."""

import asyncio
import logging

from gameai.client import AskError, Gateway
from gameai.services.storyteller.rules import prompts
from gameai.services.storyteller.rules.prompts import Task
from gameai.services.storyteller.rules.replies import Fault, Written, written
from gameai.storyteller.v1 import storyteller_pb2 as pb

_LOG = logging.getLogger(__name__)
# The first reply, and two that were asked for again.
_MOST_REPLIES = 3
# Too little for a reply.
_LEAST_SECONDS = 0.5


class Author:
    """Writes texts with a role of the world; `gateway` None: the world has no gateways."""

    def __init__(self, gateway: Gateway | None, *, role: str, tokens: int) -> None:
        self._gateway = gateway
        self._role = role
        self._tokens = tokens

    async def write(self, task: Task, seconds: float) -> "Written | pb.DegradedReason.ValueType":
        """The text of a task, or why there is none within `seconds`."""
        if self._gateway is None:
            return pb.DEGRADED_REASON_NO_TIER
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        chat = prompts.chat(task)
        fault = pb.DEGRADED_REASON_NO_TIER
        for _ in range(_MOST_REPLIES):
            left = end - loop.time()
            if left < _LEAST_SECONDS:
                break
            try:
                reply = await self._gateway.ask(
                    role=self._role,
                    messages=chat,
                    max_tokens=self._tokens,
                    deadline_ms=int(left * 1000),
                    cache="off",
                )
            except AskError as error:
                _LOG.warning("role %s gave no answer: %s", self._role, error)
                break
            found = written(reply.text, task)
            if not isinstance(found, Fault):
                return found
            fault = pb.DEGRADED_REASON_INVALID_ANSWER
            _LOG.warning("an answer of role %s does not count: %s", self._role, found.text)
            chat = prompts.repair(chat, found.reply, found.text)
        return fault
