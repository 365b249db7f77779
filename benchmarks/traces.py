"""Traces of questions: who asks when, drawn from a seed, and what became of each."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

# The length of a trace.
SECONDS = 12.0


@dataclass(frozen=True)
class Asked:
    """One question of a trace: when, of which world's which game server, and its deadline."""

    at: float
    world: int
    server: int
    npc: str
    deadline_ms: int
    echo: bool = False


@dataclass
class Outcome:
    """What became of a trace: per world, questions and answers in time; of all, how they ended."""

    asked: Counter[int]
    good: Counter[int]
    sources: Counter[str]

    @property
    def late(self) -> float:
        """Share of late answers, beyond the share of late echoes, in percent."""
        echoes = self.sources["echo"] + self.sources["late echo"]
        late = self.sources["late"] / max(1, self.asked.total())
        return 100 * max(0.0, late - self.sources["late echo"] / max(1, echoes))

    def share(self, worlds: Sequence[int]) -> float:
        """Answers in time of some worlds, of all that these asked."""
        return sum(self.good[w] for w in worlds) / max(1, sum(self.asked[w] for w in worlds))


def trace(
    rates: Sequence[float], deadlines: Sequence[int], servers: Sequence[int], seed: int
) -> list[Asked]:
    """Arrivals by chance (Poisson), of each world at its own rate."""
    draw = random.Random(seed)
    found = []
    for world, rate in enumerate(rates):
        at = draw.expovariate(rate)
        while at < SECONDS:
            npc, server = f"npc-{draw.randrange(1000)}", draw.randrange(servers[world])
            found.append(Asked(at, world, server, npc, deadlines[world]))
            at += draw.expovariate(rate)
    return sorted(found, key=lambda each: each.at)


def with_echoes(asked: Sequence[Asked], seed: int) -> list[Asked]:
    """Beside every second question one for a role that there is not, at a time of its own: it is refused at once."""
    draw = random.Random(seed)
    echoes = [replace(each, at=draw.uniform(0, SECONDS), echo=True) for each in asked[::2]]
    return sorted([*asked, *echoes], key=lambda each: each.at)
