"""A game loop: 1,000 guards decide once a second, 60 frames a second, and a bard talks. Takes the gateway's address."""

import asyncio
import random
import sys
from functools import partial

from gameai.client import Gateway
from summary import show


async def main(address: str = "127.0.0.1:50051") -> None:
    async with Gateway(address) as ai:
        guard = partial(ai.ask, role="reaction", archetype="guard", default="patrol")
        await guard(prompt="Awake?", deadline_ms=2000)
        bard = partial(ai.ask, role="dialogue", archetype="bard", npc="bard-1", max_tokens=24)
        song, decisions = asyncio.create_task(bard(prompt="Any news?")), []
        for frame in range(5 * 60):
            for n in range(frame % 60, 1000, 60):
                threat = random.randint(0, 99)
                prompt, seen = f"Threat {threat}: what now?", {"threat": threat, "hour": 21}
                asked = guard(npc=f"guard-{n}", prompt=prompt, fields=seen)
                decisions.append(asyncio.create_task(asked))
            await asyncio.sleep(1 / 60)
        show(await asyncio.gather(*decisions), await song)


asyncio.run(main(*sys.argv[1:]))
