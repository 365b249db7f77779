"""Runs in a game server's pod: asks the gateway for NPCs until SIGUSR1, then reports."""

import asyncio
import json
import signal
from collections import Counter

from gameai.client import AskError, Gateway

ASKS_PER_SECOND = 20
DEADLINE_MS = 10_000


class Tally:
    """How it went: answers by source and reason, errors by what they say."""

    def __init__(self) -> None:
        self.sources: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0


async def ask(ai: Gateway, number: int, tally: Tally) -> None:
    try:
        reply = await ai.ask(
            role="reaction",
            archetype="guard",
            npc=f"npc-{number % 50}",
            prompt="A wolf!",
            deadline_ms=DEADLINE_MS,
        )
    except AskError as error:
        tally.errors[str(error)] += 1
        return
    tally.sources[reply.source.name] += 1
    tally.slowest = max(tally.slowest, reply.seconds)
    if reply.degraded_reason:
        tally.reasons[reply.degraded_reason] += 1


async def first(ai: Gateway) -> None:
    """Until a gateway is found and answers: how long a name takes to be known is not what is counted."""
    found = Tally()
    while not found.sources:
        await ask(ai, 0, found)
        await asyncio.sleep(0.1)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.set)
    tally = Tally()
    asks: set[asyncio.Task[None]] = set()
    async with Gateway.of_world() as ai:
        await first(ai)
        number = 0
        while not stop.is_set():
            number += 1
            task = asyncio.create_task(ask(ai, number, tally))
            asks.add(task)
            task.add_done_callback(asks.discard)
            if number % ASKS_PER_SECOND == 0:
                print(json.dumps({"sources": tally.sources, "errors": tally.errors}), flush=True)
            await asyncio.sleep(1 / ASKS_PER_SECOND)
        await asyncio.gather(*asks)
    summary = {
        "asked": number,
        "sources": tally.sources,
        "reasons": tally.reasons,
        "failures": tally.errors,
        "slowest": tally.slowest,
        "answered": sum(tally.sources.values()),
    }
    print(json.dumps(summary), flush=True)


asyncio.run(main())
