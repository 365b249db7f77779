"""EDGE: asks the story tier through the gateways, and asks again where a reply is not of the form."""

import asyncio
import logging
from dataclasses import replace

from prometheus_client import Counter

from gameai.client import AskError, Gateway, Reply
from gameai.services.storyteller.rules import prompts
from gameai.services.storyteller.rules.prompts import Chat, Task
from gameai.services.storyteller.rules.replies import Fault, Written, written
from gameai.storyteller.v1 import storyteller_pb2 as pb

_LOG = logging.getLogger(__name__)
# The first reply, and two that were asked for again.
_MOST_REPLIES = 3
_LEAST_SECONDS = 0.5
# Fewer than a token of English has, and room for the rest of the reply.
_TOKEN_CHARACTERS = 3
_CUT = "it was cut off: write at most {} characters"


TEXTS = Counter(
    "gameai_storyteller_texts_total",
    "Texts that were asked of a language model, by result: written, or why not.",
    ["result"],
)


class Author:
    """Writes texts with a role of the world; `gateway` None: the world has no gateways."""

    def __init__(self, gateway: Gateway | None, *, role: str, tokens: int) -> None:
        self._gateway = gateway
        self._role = role
        self._tokens = tokens

    async def write(self, task: Task, seconds: float) -> "Written | pb.DegradedReason.ValueType":
        """The text of a task, or why there is none within `seconds`."""
        found = await self._written(task, seconds)
        if isinstance(found, Written):
            TEXTS.labels("WRITTEN").inc()
        else:
            TEXTS.labels(pb.DegradedReason.Name(found).removeprefix("DEGRADED_REASON_")).inc()
        return found

    async def _written(self, task: Task, seconds: float) -> "Written | pb.DegradedReason.ValueType":
        if self._gateway is None:
            _LOG.warning("no tier can be asked: the configuration of the world names no gateway")
            return pb.DEGRADED_REASON_NO_TIER
        # A text that the tokens have no room for would be cut off.
        task = replace(task, most=min(task.most, self._tokens * _TOKEN_CHARACTERS))
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        chat = prompts.chat(task)
        fault = pb.DEGRADED_REASON_NO_TIER
        for _ in range(_MOST_REPLIES):
            left = end - loop.time()
            if left < _LEAST_SECONDS:
                break
            reply = await self._asked(self._gateway, chat, left)
            if reply is None:
                break
            found = written(reply.text, task)
            if not isinstance(found, Fault):
                return found
            fault = pb.DEGRADED_REASON_INVALID_ANSWER
            why = _CUT.format(task.most) if reply.truncated else found.text
            _LOG.warning("an answer of role %s does not count: %s", self._role, why)
            chat = prompts.repair(task, found.reply, why)
        return fault

    async def _asked(self, gateway: Gateway, chat: Chat, left: float) -> Reply | None:
        try:
            # The client waits for a late answer; here the caller's time is over.
            async with asyncio.timeout(left):
                return await gateway.ask(
                    role=self._role,
                    messages=chat,
                    max_tokens=self._tokens,
                    deadline_ms=int(left * 1000),
                    cache="off",
                )
        except (AskError, TimeoutError) as error:
            _LOG.warning("role %s gave no answer in %.1f s: %s", self._role, left, error)
            return None
