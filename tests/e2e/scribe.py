"""Runs in a pod of a world: submits jobs, then waits for all of them, and reports at SIGUSR1 and the end of both."""

import asyncio
import json
import signal

from gameai.client import AskError, Gateway, Job

JOBS = 20


async def submitted(ai: Gateway, number: int) -> Job:
    while True:
        try:
            return await ai.jobs.submit(
                role="chronicle", prompt=f"Tell {number}.", max_tokens=16, request_id=f"{number}"
            )
        except AskError as error:
            # A world is known to a gateway a moment after it is Ready, and its role's tier too.
            print(error, flush=True)
            await asyncio.sleep(0.5)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.set)
    async with Gateway.of_world() as ai:
        jobs = [await submitted(ai, number) for number in range(JOBS)]
        print("all submitted", flush=True)
        texts = await asyncio.gather(*(job.result() for job in jobs))
        print("all ended", flush=True)
        await stop.wait()
        found = [await job.status() for job in jobs]
    summary = {
        "answered": len([each for each in texts if each.text]),
        "states": sorted({each.state for each in found}),
        "attempts": sorted(each.attempts for each in found),
        "slowest": max(each.seconds for each in texts),
    }
    print(json.dumps(summary), flush=True)


asyncio.run(main())
