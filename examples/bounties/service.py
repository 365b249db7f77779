"""A service with state: bounties in PostgreSQL, which are claimed by deaths on the event bus.

In the GameWorld: `consumes: [game-server]`, and BOUNTIES_DATABASE with the URL of a database, from a Secret.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import bounties_pb2
import bounties_pb2_grpc
from gameai.client import Bus
from gameai.errors import InvalidArgumentError
from gameai.events.v1 import events_pb2
from gameai.kit import Call, Database, Kit, OneWorld, handlers, mutation, on, query
from gameai.serving import GameService, Runtime, main

NAME, SOURCE = "bounties", 33
TABLE = """
CREATE TABLE IF NOT EXISTS bounty (
    world text NOT NULL,
    victim numeric(20) NOT NULL,
    gold bigint NOT NULL,
    PRIMARY KEY (world, victim)
)
"""


class Bounties(bounties_pb2_grpc.BountyServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    @mutation
    async def PostBounty(
        self, request: bounties_pb2.PostBountyRequest, call: Call
    ) -> bounties_pb2.PostBountyResponse:
        if not 0 < request.gold <= 1_000_000:
            raise InvalidArgumentError("gold must be 1 to 1000000", field="gold")
        cursor = await call.db.execute(
            "INSERT INTO bounty VALUES (%s, %s, %s) ON CONFLICT (world, victim)"
            " DO UPDATE SET gold = bounty.gold + EXCLUDED.gold RETURNING gold",
            (call.world, request.victim, request.gold),
        )
        (gold,) = await cursor.fetchone()
        return bounties_pb2.PostBountyResponse(gold=gold)

    @query
    async def GetBounty(
        self, request: bounties_pb2.GetBountyRequest, call: Call
    ) -> bounties_pb2.GetBountyResponse:
        cursor = await call.db.execute(
            "SELECT gold FROM bounty WHERE world = %s AND victim = %s",
            (call.world, request.victim),
        )
        row = await cursor.fetchone()
        return bounties_pb2.GetBountyResponse(gold=row[0] if row else 0)

    @on(events_pb2.EntityKilled)
    async def killed(self, event: events_pb2.EntityKilled, call: Call) -> None:
        cursor = await call.db.execute(
            "DELETE FROM bounty WHERE world = %s AND victim = %s RETURNING gold",
            (call.world, event.victim),
        )
        row = await cursor.fetchone()
        if row:
            call.emit(
                bounties_pb2.BountyClaimed(victim=event.victim, killer=event.killer, gold=row[0])
            )


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    kit = Kit.opened(
        NAME,
        SOURCE,
        Database(os.environ["BOUNTIES_DATABASE"], schema="bounties"),
        OneWorld(runtime.world),
        tables=[TABLE],
        bus=Bus.of_world(),
        types=[bounties_pb2],
    )
    async with kit as opened:
        service = Bounties(opened)
        bounties_pb2_grpc.add_BountyServiceServicer_to_server(service, runtime.server)
        runtime.background.start("kit", opened.run(handlers(service)))
        yield


SERVICE = GameService(name=NAME, wire_name="bounties.v1.BountyService", lifespan=lifespan)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
