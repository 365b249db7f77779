"""Runs in a client's pod: calls a weather-manager by its Service's name until SIGUSR1, then reports how it went."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from typing import Any

import grpc
from gameai.client import channel
from gameai.weather.v1 import weather_pb2, weather_pb2_grpc

CALLS_PER_SECOND = 20
DEADLINE_SECONDS = 10.0
# The asynchronous stub has no type of its own at run time.
Stub = Any


class Tally:
    """How it went: seconds of answered calls, failures and ends of streams by status."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()


async def call(stub: Stub, region: str, tally: Tally) -> None:
    began = time.monotonic()
    try:
        await stub.GetWeather(
            weather_pb2.GetWeatherRequest(region=region), timeout=DEADLINE_SECONDS
        )
        tally.seconds.append(time.monotonic() - began)
    except grpc.aio.AioRpcError as error:
        tally.failures[f"{error.code().name}: {error.details()}"] += 1


async def watch(stub: Stub, tally: Tally, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            async for _ in stub.WatchWeather(weather_pb2.WatchWeatherRequest()):
                pass
            tally.ends["OK"] += 1
        except grpc.aio.AioRpcError as error:
            tally.ends[f"{error.code().name}: {error.details()}"] += 1


async def main(target: str, region: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.set)
    tally = Tally()
    calls: set[asyncio.Task[None]] = set()
    async with grpc.aio.insecure_channel(
        target, options=channel.options(weather_pb2.DESCRIPTOR)
    ) as made:
        stub: Stub = weather_pb2_grpc.WeatherServiceStub(made)
        first = await stub.GetWeather(
            weather_pb2.GetWeatherRequest(region=region), timeout=60, wait_for_ready=True
        )
        print(json.dumps({"first": first.weather.region}), flush=True)
        watching = asyncio.create_task(watch(stub, tally, stop))
        while not stop.is_set():
            task = asyncio.create_task(call(stub, region, tally))
            calls.add(task)
            task.add_done_callback(calls.discard)
            await asyncio.sleep(1 / CALLS_PER_SECOND)
        await asyncio.gather(*calls)
        watching.cancel()
    summary = {
        "answered": len(tally.seconds),
        "failures": tally.failures,
        "ends": tally.ends,
        "slowest": max(tally.seconds),
    }
    print(json.dumps(summary), flush=True)


asyncio.run(main(*sys.argv[1:]))
