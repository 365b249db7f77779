"""EDGE: what requests and events change, in the transactions of their calls. Changes of a world are one after the other."""

import asyncio
import logging
from collections.abc import Sequence

from google.protobuf.message import Message

from gameai.bus.subjects import name_id
from gameai.events.v1.events_pb2 import FactChanged
from gameai.kit import Call
from gameai.kit.cache import WorldCache
from gameai.services.world_state import store
from gameai.services.world_state.rules import checks, decision, reactions
from gameai.services.world_state.rules.decision import Step, Values, Written
from gameai.services.world_state.rules.table import Rules, Table, Target
from gameai.world_state.v1 import world_state_pb2 as pb

_LOG = logging.getLogger(__name__)
# Each is logged once.
_MOST_NAMED = 100


class Changes:
    """Changes of the facts of the worlds of a process, which have these regions."""

    def __init__(self, cache: WorldCache[Table], regions: Sequence[str]) -> None:
        self._cache, self._regions = cache, regions
        self._numbers = {name_id(each): each for each in regions}
        self._unknown = set[int]()

    async def declare(self, request: pb.DeclareFactsRequest, call: Call) -> pb.DeclareFactsResponse:
        """Declare facts, change their rules, and remove them."""
        # Fields that this release does not know would be kept, past every limit.
        request.DiscardUnknownFields()
        checks.declaration(request)
        revision, rules = await self._locked(call)
        names = [*(each.name for each in request.rules), *request.removed_facts]
        values = await store.of_facts(call.db, call.world, names)
        found = decision.declare(request, rules, values, revision + 1, call.now_us)
        if not found.rules and not found.removed:
            return pb.DeclareFactsResponse(revision=revision)
        await store.declare(call.db, call.world, revision + 1, found)
        return pb.DeclareFactsResponse(revision=revision + 1)

    async def propose(self, request: pb.ProposeFactsRequest, call: Call) -> pb.ProposeFactsResponse:
        """Do what the rules allow."""
        checks.proposals(request)
        revision, rules = await self._locked(call)
        targets = [Target(fact=each.fact, region=each.region) for each in request.proposals]
        values = await store.known(call.db, call.world, targets)
        now = call.now_us
        steps = [
            decision.proposed(each, rules, self._regions, values, now) for each in request.proposals
        ]
        allowed = [each for each in steps if isinstance(each, Step)]
        changes = await self._write(call, allowed, rules, values, revision)
        found = {each.target: each for each in changes}
        return pb.ProposeFactsResponse(
            verdicts=[
                decision.verdict(
                    each if decision.exists(each, rules, self._regions) else None,
                    step,
                    rules,
                    values,
                    found,
                    revision + 1,
                    now,
                )
                for each, step in zip(targets, steps, strict=True)
            ],
            revision=revision + bool(changes),
        )

    async def react(self, events: Sequence[Message], call: Call) -> None:
        """Change what the rules say of events: those that are declared now, whatever this process knows."""
        now = await store.rules_token(call.db, call.world)
        if not await self._steps(await self._rules(call, now), events):
            return
        revision, rules = await self._locked(call)
        steps = await self._steps(rules, events)
        values = await store.known(call.db, call.world, {each.target for each in steps})
        await self._write(call, steps, rules, values, revision)

    async def _steps(self, rules: Rules, events: Sequence[Message]) -> list[Step]:
        """What the rules change by events, in their order."""
        found: list[Step] = []
        for each in events:
            # Many rules take long; others have their turn meanwhile.
            await asyncio.sleep(0)
            self._note_unknown(rules, each)
            found += reactions.steps(rules, each, self._numbers)
        return found

    async def _locked(self, call: Call) -> tuple[int, Rules]:
        """The present revision and the rules, which stay until the end of the transaction."""
        revision, of_rules = await store.lock(call.db, call.world)
        return revision, await self._rules(call, of_rules)

    async def _rules(self, call: Call, token: str) -> Rules:
        """The rules with the present token."""
        table = await self._cache.known(call.world)
        if table.rules_token == token:
            return table.rules
        return await store.rules(call.db, call.world)

    async def _write(
        self, call: Call, steps: Sequence[Step], rules: Rules, values: Values, revision: int
    ) -> list[Written]:
        """Write what steps change, and publish it."""
        changes = decision.written(steps, rules, values, call.now_us)
        if not changes:
            return []
        await store.write(call.db, call.world, revision + 1, changes, call.now_us)
        for each in changes:
            region = each.target.region
            call.emit(
                FactChanged(
                    fact=name_id(each.target.fact),
                    region=name_id(region) if region else 0,
                    value=each.dated.value,
                    previous=each.previous,
                    revision=revision + 1,
                )
            )
        return changes

    def _note_unknown(self, rules: Rules, event: Message) -> None:
        """A region that is not in the setting is most likely a mistake: its events change nothing."""
        for number in reactions.unknown_regions(rules, event, self._numbers) - self._unknown:
            if len(self._unknown) < _MOST_NAMED:
                self._unknown.add(number)
                _LOG.warning(
                    "%s names the region %d (0: none), which is not in the setting regions: it changes no fact of a region",
                    event.DESCRIPTOR.name,
                    number,
                )
