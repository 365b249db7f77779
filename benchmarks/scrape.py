"""What it costs to read 100 metrics pages every five seconds: CPU of one core, and memory.

The collector runs in a process of its own. The pages are those of dcgm-exporter on nodes with one GPU, each at an address
of its own of this machine.
"""

import asyncio
import sys
import time

import psutil
from aiohttp import web
from gameai_devcluster.processes import free_port
from gameai_operator.scaling.collector import Collector, Source
from gameai_operator.scaling.exposition import reader
from gameai_operator.scaling.gpus import UTILISATION, Gpus

from benchmarks import report

PAGES, INTERVAL, ROUNDS, ROUND_SECONDS = 100, 5.0, 3, 20.0
FIELDS = 30


def page(number: int) -> str:
    """One GPU of a node, with so many fields."""
    names = [UTILISATION, *(f"DCGM_FI_DEV_FIELD_{at}" for at in range(FIELDS - 1))]
    labels = (
        f'gpu="0",UUID="GPU-{number:036}",pci_bus_id="00000000:00:1E.0",device="nvidia0",modelName="NVIDIA A10G",'
        f'Hostname="ip-10-0-0-{number}",container="vllm",namespace="games",pod="gold-spot-7c9f8b6d5f-{number:05}"'
    )
    return "".join(
        f"# HELP {name} A field of DCGM.\n# TYPE {name} gauge\n{name}{{{labels}}} {number % 100}\n"
        for name in names
    )


async def serve(port: int) -> web.AppRunner:
    """The pages, by the address that is asked."""

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        host = request.transport.get_extra_info("sockname")[0]
        return web.Response(text=page(int(host.rpartition(".")[2])))

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for number in range(1, PAGES + 1):
        await web.TCPSite(runner, f"127.0.1.{number}", port).start()
    return runner


async def collect(port: int) -> None:
    """The collector, until it is killed; says how many pages it has every round."""
    gpus, targets = Gpus(), tuple(f"127.0.1.{number}:{port}" for number in range(1, PAGES + 1))
    source = Source(
        name="GPU exporter",
        targets=lambda: targets,
        read=reader((UTILISATION,), UTILISATION),
        listed=gpus.listed,
        take=gpus.take,
    )
    collector = Collector([source], clock=time.monotonic, seconds=INTERVAL)
    running = asyncio.create_task(collector.run())
    while not running.done():
        await asyncio.sleep(1)
        found = gpus.percent("games", "gold")
        print("nothing" if found is None else f"{found.value:.1f}", flush=True)


async def measure() -> list[report.Row]:
    """Rounds of CPU, in percent of a core, and memory at the end, in MiB."""
    port = free_port()
    runner = await serve(port)
    command = [sys.executable, "-m", "benchmarks.scrape", str(port)]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    process, cpu, memory = psutil.Process(child.pid), [], []
    try:
        await asyncio.sleep(2 * INTERVAL)
        for _ in range(ROUNDS):
            before, began = process.cpu_times(), time.monotonic()
            await asyncio.sleep(ROUND_SECONDS)
            after, seconds = process.cpu_times(), time.monotonic() - began
            used = after.user + after.system - before.user - before.system
            cpu.append(100 * used / seconds)
            memory.append(process.memory_info().rss / 2**20)
    finally:
        child.kill()
        output, _ = await child.communicate()
        await runner.cleanup()
    # The mean of 1 to 100, where 100 counts as 0: every page was read.
    assert output.decode().split()[-1] == "49.5", output[-200:]
    name = f"{PAGES} pages every {INTERVAL:.0f} s"
    return [
        report.median(f"{name}: CPU", cpu, limit=10, unit="% core"),
        report.median(f"{name}: memory", memory, limit=150, unit="MiB"),
    ]


def main() -> None:
    """Measure and write the table."""
    report.write("scrape", asyncio.run(measure()))


if __name__ == "__main__":
    asyncio.run(collect(int(sys.argv[1])))
