"""EDGE: the gateway's connection to the event bus, for jobs alone: questions in time do not need it."""

import asyncio
import logging

from gameai.bus.log import BusError
from gameai.bus.login import Login
from gameai.bus.queue import NatsQueue
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.jobs.metrics import JobMetrics
from gameai.gateway.jobs.runner import Runner
from gameai.gateway.jobs.store import JobStore

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0


class JobConnection:
    """`store` is None until the bus is reached for the first time; afterwards the connection opens again by itself."""

    def __init__(self, url: str, login: Login | None, dispatcher: Dispatcher) -> None:
        self._url, self._login = url, login
        self.metrics = JobMetrics()
        self.runner = Runner(dispatcher, self.metrics)
        self.store: JobStore | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with NatsQueue(self._url, name="gameai-jobs", login=self._login) as log:
                    self.metrics.connected = lambda: log.connected
                    self.store = JobStore(log)
                    await self.runner.run(self.store)
            except BusError as error:
                _LOG.warning("no jobs: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
