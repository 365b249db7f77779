"""What a game service is to the server: its names, and a context manager that is its life."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from grpc import aio

from gameai.serving.background import Background
from gameai.serving.live import LiveWorld
from gameai.serving.readiness import Readiness


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """What a service is given: the world, its settings with defaults, and the server to which it adds itself.

    `background` runs its tasks, and `readiness` asks its parts.
    """

    world: LiveWorld
    settings: Mapping[str, str]
    server: aio.Server
    background: Background
    readiness: Readiness


Lifespan = Callable[[Runtime], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class GameService:
    """One service: its name in the catalogue, its full name on the wire, and its lifespan.

    The lifespan opens what the service needs (connections, caches), adds the service to the server, yields, and closes
    what it opened. It is entered before the first call, and left after the last call and the last background task.
    """

    name: str
    wire_name: str
    lifespan: Lifespan
    # Requests are small; a large one is a mistake or an attack.
    most_request_bytes: int = 64 << 10
    # Calls at a time: with their requests they must fit the memory of the pod.
    most_calls: int = 1000
