"""asyncio: the workers: take a key, reconcile it, see to its next time."""

import asyncio
import logging
import uuid

from gameai_operator import telemetry
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.reconciler import Reconciler
from gameai_operator.controller.workqueue import Priority, Workqueue

_LOG = logging.getLogger(__name__)


class Controller:
    """Runs reconciles of different keys side by side until it is cancelled."""

    def __init__(self, queue: Workqueue, reconciler: Reconciler, *, workers: int) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._workers = workers

    async def run(self) -> None:
        """Work until cancelled, which cancels the requests in flight."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            active = telemetry.ACTIVE_WORKERS.labels(key.kind.lower())
            active.inc()
            telemetry.KEY.set(str(key))
            telemetry.RECONCILE_ID.set(uuid.uuid4().hex[:12])  # noqa: TID251 - names a log line, decides nothing
            try:
                await self._reconcile(key)
            finally:
                active.dec()
                self._queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        try:
            outcome = await self._reconciler.reconcile(key)
        except NotLeadingError:
            # The next leader lists everything; nothing is lost by letting go.
            return
        except ApiError as error:
            _LOG.warning("retrying: %s", error)
            self._failed(key, error.retry_after_seconds)
            return
        except Exception:  # noqa: BLE001 - one broken object must not end the others
            _LOG.exception("a reconcile failed; this is a bug")
            self._failed(key, 0.0)
            return
        again = outcome.requeue_after_seconds
        if outcome.failed:
            self._failed(key, outcome.retry_after_seconds)
            return
        self._queue.forget(key)
        result = "success" if again is None else "requeue_after"
        telemetry.RECONCILES.labels(key.kind.lower(), result).inc()
        if again is not None:
            self._queue.add(key, Priority.RESYNC, after=again)

    def _failed(self, key: Key, at_least: float) -> None:
        telemetry.RECONCILES.labels(key.kind.lower(), "error").inc()
        self._queue.retry(key, at_least=at_least)
