"""An innocent tenant beside a hostile one at a gateway's own process: what the attack costs the first."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import psutil
import urllib3
from cryptography.hazmat.primitives.asymmetric import rsa
from gameai.client import AskError, Gateway, Source

DEADLINE_MS = 1000
_CALM = "calm/town"
_WELL = 0.9
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_NPCS = """\
version: 1
archetypes:
  guard:
    actions: [patrol, flee]
    cache: {fields: {threat: {step: 1}}, ttlSeconds: 1}
"""


@dataclass
class Watch:
    """What an innocent tenant saw: questions, answers of an engine in time, and the longest wait for a refusal."""

    asked: int = 0
    good: int = 0
    longest_refusal: float = 0.0

    @property
    def goodput(self) -> float:
        """Engines' answers in time, of all questions."""
        return self.good / max(1, self.asked)


@dataclass
class Bench:
    """A gateway's process with one engine, its tokens, and the memory that it takes."""

    folder: Path
    worlds: int
    slots: int
    address: str = ""
    health: str = ""
    process: psutil.Process | None = None
    tokens: dict[str, Path] = field(default_factory=dict)

    def rss(self) -> int:
        """Bytes that the gateway takes."""
        assert self.process is not None  # noqa: S101 - it was entered
        held: int = self.process.memory_info().rss
        return held

    def engine_requests(self) -> dict[str, float]:
        """Requests to engines by namespace, since the start."""
        found: dict[str, float] = {}
        for line in urllib3.request("GET", f"{self.health}/metrics").data.decode().splitlines():
            if line.startswith("gameai_gateway_engine_requests_total{"):
                space = line.split('world="')[1].split("/")[0].split('"')[0]
                found[space] = found.get(space, 0.0) + float(line.rsplit(" ", 1)[1])
        return found

    @contextlib.contextmanager
    def attacked(self, kind: str) -> Iterator[None]:
        """A hostile game server beside, with the least claim to CPU."""
        program = [sys.executable, "-m", "gameai_devcluster.testing.flood", kind, self.address]
        made = subprocess.Popen([*program, str(self.tokens["flood"]), str(self.worlds)])
        try:
            yield
            assert made.poll() is None, "the attack ended by itself"  # noqa: S101 - else nothing was measured
        finally:
            made.kill()
            made.wait()


@asynccontextmanager
async def bench(
    folder: Path, *, worlds: int = 4, slots: int = 8, first_token_ms: float = 40.0
) -> AsyncIterator[Bench]:
    """A gateway and an engine, each a process of its own."""
    made = Bench(folder, worlds, slots)
    async with AsyncExitStack() as stack:
        double = ["--port=0", f"--max-num-seqs={slots}", "--front-end-ms=0"]
        double += [f"--first-token-ms={first_token_ms}", "--token-ms=5", "--served-model-name=gold"]
        _, [engine, *_] = await _program(stack, "gameai_vllm", *double)
        keys = _write(made, engine)
        flags = [f"--view={folder / 'view.yaml'}", f"--keys={keys}", "--address=127.0.0.1"]
        flags += ["--port=0", "--health-port=0", "--log-level=ERROR"]
        pid, [port, health] = await _program(stack, "gameai.gateway", *flags)
        made.address, made.health = f"127.0.0.1:{port}", f"http://127.0.0.1:{health}"
        made.process = psutil.Process(pid)
        yield made


async def watch(made: Bench, seconds: float, rate: float) -> Watch:
    """Ask as an innocent game server does: at a steady rate, whatever becomes of it."""
    seen, running = Watch(), set()
    token = made.tokens["calm"]
    async with Gateway(made.address, world=_CALM, token_file=token, insecure=True) as ai:

        async def one(number: int) -> None:
            seen.asked += 1
            with contextlib.suppress(AskError):
                reply = await ai.ask(
                    role="reaction",
                    archetype="guard",
                    npc=f"n{number}",
                    prompt="A wolf!",
                    deadline_ms=DEADLINE_MS,
                )
                seen.good += reply.source is Source.ENGINE and not reply.late

        async def refusal() -> None:
            began = time.perf_counter()
            with contextlib.suppress(AskError):
                await ai.ask(role="nobody", prompt="x", deadline_ms=30_000)
            seen.longest_refusal = max(seen.longest_refusal, time.perf_counter() - began)

        # Connected, before anything counts.
        await refusal()
        seen.longest_refusal = 0.0
        began, number = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds:
            await asyncio.sleep(max(0.0, number / rate - now))
            number += 1
            task = asyncio.create_task(one(number))
            running.add(task)
            if number % 10 == 0:
                running.add(asyncio.create_task(refusal()))
        await asyncio.gather(*running)
    return seen


@dataclass(frozen=True)
class Harm:
    """What an attack cost: goodput beside it, of that alone; bytes; seconds that a refusal took at most."""

    goodput: float
    grown_bytes: int
    longest_refusal: float


async def attack(folder: Path, kind: str, seconds: float, rate: float = 30.0) -> Harm:
    """An innocent tenant alone, and then beside an attack."""
    async with bench(folder) as made:
        alone = await watch(made, seconds, rate)
        before = most = made.rss()

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, made.rss())
                await asyncio.sleep(0.05)

        with made.attacked(kind):
            looking = asyncio.create_task(look())
            # Until it runs at full strength.
            await asyncio.sleep(1.5)
            beside = await watch(made, seconds, rate)
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
        assert alone.goodput > _WELL, "the tenant is not served well when it is alone"  # noqa: S101 - else nothing is compared
    return Harm(beside.goodput / alone.goodput, most - before, beside.longest_refusal)


async def share_beside(folder: Path, worlds: int, seconds: float) -> float:
    """The part of a full tier that one world gets which asks for twice the tier, beside worlds of another namespace."""
    async with bench(folder, worlds=worlds, slots=4) as made:
        with made.attacked("worlds"):
            await asyncio.sleep(1.5)
            before = made.engine_requests()
            await watch(made, seconds, 150.0)
            after = made.engine_requests()
    took = {space: number - before.get(space, 0.0) for space, number in after.items()}
    return took["calm"] / sum(took.values())


def _write(made: Bench, engine: int) -> Path:
    """The view, the archetypes, the keys and a token for each of the two."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for space in ("calm", "flood"):
        claims = {
            "iss": _ISSUER,
            "aud": ["gameai-gateway"],
            "sub": f"system:serviceaccount:{space}:server",
        }
        times = {"iat": time.time(), "exp": time.time() + 3600}
        text = jwt.encode(claims | times, key, algorithm="RS256", headers={"kid": "k1"})
        made.tokens[space] = made.folder / f"{space}.token"
        made.tokens[space].write_text(text)
    names = [("calm", "town"), *(("flood", f"w{number}") for number in range(made.worlds))]
    roles = [
        {"name": name, "tier": "shared/gold", "deadlineMs": 1000}
        for name in ("reaction", "dialogue")
    ]
    worlds = [
        {
            "name": name,
            "namespace": space,
            "roles": roles,
            "archetypes": "npcs.yaml",
            "callers": [f"{space}/server"],
        }
        for space, name in names
    ]
    tier = {
        "name": "gold",
        "namespace": "shared",
        "class": "Gold",
        "slots": made.slots,
        "endpoints": [f"127.0.0.1:{engine}"],
    }
    (made.folder / "view.yaml").write_text(json.dumps({"tiers": [tier], "worlds": worlds}))
    (made.folder / "npcs.yaml").write_text(_NPCS)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    keys = made.folder / "keys.json"
    keys.write_text(json.dumps({"keys": [public | {"kid": "k1", "alg": "RS256"}]}))
    return keys


async def _program(stack: AsyncExitStack, module: str, *flags: str) -> tuple[int, list[int]]:
    """A module as a process that ends with the stack, and the ports that it says."""
    made = subprocess.Popen(  # noqa: ASYNC220 - of a test, once
        [sys.executable, "-m", module, *flags], stdout=subprocess.PIPE, text=True
    )
    stack.enter_context(made)
    stack.callback(made.kill)
    assert made.stdout is not None  # noqa: S101 - it is a pipe
    async with asyncio.timeout(60):
        line = await asyncio.to_thread(made.stdout.readline)
    return made.pid, [int(word) for word in line.split()[2:]]
