"""Three jobs: chapters that a Bronze tier writes when it has time. Takes the gateway's address."""

import asyncio
import sys

from gameai.client import Gateway


async def main(address: str = "127.0.0.1:50051") -> None:
    async with Gateway(address) as ai:
        jobs = [
            await ai.jobs.submit(
                role="chronicle",
                prompt=f"Tell the week of the {week} comet.",
                max_tokens=48,
                # The same id is the same job: run this again within the hour, and nothing is asked again.
                request_id=f"chronicle-{week}",
            )
            for week in ("red", "white", "last")
        ]
        print(f"{len(jobs)} jobs are stored")
        for job in jobs:
            reply = await job.result()
            print(f"{job.id[:8]} after {reply.seconds:.1f} s: {reply.text}")


asyncio.run(main(*sys.argv[1:]))
