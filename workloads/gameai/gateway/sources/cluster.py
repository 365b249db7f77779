"""EDGE: the view of the cluster by watches: tiers, their replicas, WorldViews, and the number of gateways."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import aiohttp
from gameai_contract.names import TIER_LABEL
from prometheus_client.core import Metric

from gameai.cluster.api import ApiError, Server
from gameai.cluster.watch import OUR_GROUP, Object, Watched, places
from gameai.gateway.metrics import Metrics, gauge
from gameai.gateway.routing.archetypes import Library
from gameai.gateway.routing.snapshot import View
from gameai.gateway.sources.decode import Assembly, ready_addresses, replicas, tier, world

_LOG = logging.getLogger(__name__)
# Changes come in bursts; one view is made of what comes within so long.
_SETTLE_SECONDS = 0.02
# An operator that publishes worlds one by one is done once no WorldView came for this time, which is longer than a
# standby takes to go on for a leader that died.
_QUIET_SECONDS, _MOST_UNPUBLISHED_SECONDS, _LOOK_SECONDS = 30.0, 600.0, 0.5
_FORBIDDEN, _NOT_FOUND = 403, 404
_SLICES = "/apis/discovery.k8s.io/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Where to look: namespaces (empty: all), and the gateway's own Service (empty: a single gateway)."""

    namespaces: tuple[str, ...] = ()
    own_namespace: str = ""
    own_service: str = ""


class Discovery:
    """Watches, and gives each new view to `take`."""

    def __init__(
        self, server: Server, scope: Scope, metrics: Metrics, take: Callable[[View], None]
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._take = take
        self._changed = asyncio.Event()
        self._assembly = Assembly()
        self._view: View | None = None
        self._warned: frozenset[str] = frozenset()
        self._began = self._count_changed_at = monotonic()
        self._published_count, self._asked = 0, False
        self._expected: frozenset[str] = frozenset()
        self._places = places(scope.namespaces)
        self._tiers = self._everywhere(scope, OUR_GROUP, "modeltiers", "", tier)
        self._replicas = self._everywhere(scope, _SLICES, "endpointslices", TIER_LABEL, replicas)
        read = partial(world, library=Library())
        self._worlds = self._everywhere(scope, OUR_GROUP, "worldviews", "", read)
        self._slices = self._own_slices(scope)

    @property
    def missing(self) -> list[str]:
        """What was never listed yet.

        A namespace that may not be listed holds up no other; where none may, all are missing.
        """
        return sorted(
            {
                _name(each)
                for collection in self._collections()
                for each in collection
                if not each.synced and (not each.refused or all(one.refused for one in collection))
            }
        )

    @property
    def blind(self) -> str:
        """Why there is no view yet; empty once there is one. Every call checks it."""
        if self._view is not None:
            return ""
        missing = self.missing
        if missing:
            return f"not listed yet: {', '.join(missing)}"
        unpublished = self._unpublished()
        if unpublished:
            many, one = len(unpublished), min(unpublished)
            return f"the operator has published no WorldView yet of {many} worlds, such as {one}"
        return "no view was made yet"

    def gauges(self) -> list[Metric]:
        """How old what is known may be."""
        now = monotonic()
        connected: dict[str, bool] = {}
        silent: dict[str, float] = {}
        for each in self._all():
            connected[each.resource] = connected.get(each.resource, True) and each.connected
            silent[each.resource] = max(silent.get(each.resource, 0.0), now - each.heard_at)
        return [
            gauge(
                "gameai_gateway_watch_connected",
                "1 while all watches are connected; while 0, the last view is served.",
                ("resource",),
                [((name,), float(is_so)) for name, is_so in connected.items()],
            ),
            gauge(
                "gameai_gateway_watch_silent_seconds",
                "Seconds since the last message of the API server, which sends one at least every two minutes.",
                ("resource",),
                [((name,), seconds) for name, seconds in silent.items()],
            ),
            gauge(
                "gameai_gateway_archetypes_over_budget_worlds",
                "Worlds without archetypes, because they exceed the memory budget of their namespace.",
                (),
                [((), float(len(self._assembly.over_budget)))],
            ),
        ]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._expect())
            for each in self._all():
                group.create_task(each.run(self._metrics.count_event))
            group.create_task(self._build())

    async def _build(self) -> None:
        spent = 0.0
        while True:
            await self._changed.wait()
            # While much changes, nine tenths of the time are for questions.
            await asyncio.sleep(max(_SETTLE_SECONDS, 9 * spent))
            self._changed.clear()
            if self.missing:
                # Half a view would refuse questions of worlds that are there.
                continue
            if self._view is None and (self._unpublished() or not self._asked):
                # A view before the operator has published all worlds would do the same: a new release may publish later.
                continue
            began = monotonic()
            view = self._assembly.view(
                _held(self._tiers),
                itertools.chain.from_iterable(_held(self._replicas)),
                _held(self._worlds),
                self._gateways(),
            )
            self._warn()
            if view != self._view:
                self._view = view
                try:
                    self._take(view)
                except Exception:  # noqa: BLE001 - a bug in taking one view must not end the gateway
                    _LOG.exception("a view was not taken up; this is a bug")
            spent = monotonic() - began

    async def _expect(self) -> None:
        """Keep up which worlds there are until there is a first view; where they may not be listed, none is waited for."""
        while self._view is None:
            with contextlib.suppress(Exception):
                async with self._server.session() as session:
                    found = [await self._names(session, each) for each in self._places]
                names = frozenset(itertools.chain.from_iterable(found))
                # Worlds that are created later are not waited for: otherwise their creator could delay a start forever.
                self._expected = self._expected & names if self._asked else names
                self._asked = True
                self._changed.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _names(self, session: aiohttp.ClientSession, place: str) -> list[str]:
        """Worlds that are there to stay. Raises `ApiError`, and what connections raise."""
        try:
            found = await self._server.document(session, f"{place}/gameworlds")
        except ApiError as error:
            if error.status in (_FORBIDDEN, _NOT_FOUND):
                return []
            raise
        metadata = (each["metadata"] for each in found["items"])
        return [
            f"{each['namespace']}/{each['name']}"
            for each in metadata
            if "deletionTimestamp" not in each
        ]

    def _unpublished(self) -> frozenset[str]:
        """Existing worlds without a WorldView, while the gateway waits for them.

        While there is no WorldView at all, the operator is of a former release or does not run: the former gateways keep serving.
        """
        published = {each.view.key for each in _held(self._worlds)}
        now, heard = monotonic(), len(published & self._expected)
        if heard != self._published_count:
            self._published_count, self._count_changed_at = heard, now
        quiet = published and now - self._count_changed_at > _QUIET_SECONDS
        if quiet or now - self._began > _MOST_UNPUBLISHED_SECONDS:
            return frozenset()
        return self._expected - published

    def _warn(self) -> None:
        over = self._assembly.over_budget
        if over and over != self._warned:
            _LOG.warning(
                "archetypes of %d worlds do not fit the memory for them, such as those of %s",
                len(over),
                min(over),
            )
        self._warned = over
        # There may be room for them by then.
        for each in self._worlds:
            each.read_again(
                (space, name) for space, _, name in (key.partition("/") for key in over)
            )

    def _gateways(self) -> int:
        return len({address for each in _held(self._slices) for address in each})

    def _collections(self) -> tuple[list[Watched], ...]:
        return self._tiers, self._replicas, self._worlds, self._slices

    def _all(self) -> list[Watched]:
        return [each for collection in self._collections() for each in collection]

    def _everywhere(
        self,
        scope: Scope,
        group: str,
        plural: str,
        selector: str,
        project: Callable[[Object], Any],
    ) -> list[Watched]:
        return [
            Watched(self._server, f"{place}/{plural}", selector, project, self._changed.set)
            for place in places(scope.namespaces, group)
        ]

    def _own_slices(self, scope: Scope) -> list[Watched]:
        if not scope.own_service:
            return []
        path = f"{_SLICES}/namespaces/{scope.own_namespace}/endpointslices"
        selector = f"kubernetes.io/service-name={scope.own_service}"
        return [Watched(self._server, path, selector, ready_addresses, self._changed.set)]


def _name(watched: Watched) -> str:
    where = f" of namespace {watched.namespace}" if watched.namespace else ""
    refused = " (forbidden)" if watched.refused else ""
    return f"{watched.resource}{where}{refused}"


def _held(watched: Sequence[Watched]) -> list[Any]:
    return list(itertools.chain.from_iterable(each.objects.values() for each in watched))
