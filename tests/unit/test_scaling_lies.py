"""Pages that are missing, old, partial, wrong or lies, from the text of gateways to the decision."""

import contextlib
import datetime
import math
import random
from dataclasses import dataclass, replace

import pytest
from gameai_operator.api.scaling import Scaling
from gameai_operator.scaling.behavior import Memory
from gameai_operator.scaling.decide import Decision, Fleet, decide
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.exposition import GATEWAY, GATEWAY_FAMILY, parse
from gameai_operator.scaling.signals import Sample

TIER, WORLD, OTHER = "shared/gold", "games/moor", "games/frost"
WALL = datetime.datetime(2026, 11, 27, 19, 30, tzinfo=datetime.UTC)
TARGET, MAXIMUM = 8, 100
# Two players ask once a minute each: their load is the queue's, and no forecast of their own wins.
SCALING = Scaling.model_validate(
    {
        "maxReplicas": 50,
        "queue": {"targetPerReplica": TARGET},
        "gpu": {"targetPercent": 70},
        "scaleOut": {"pods": 1000, "percent": 1000},
        "scaleIn": {"windowSeconds": 0, "pods": 1000},
    }
)
FAULTS = (
    "none",
    "missing page",
    "never answered",
    "old page",
    "not a number",
    "negative",
    "infinite",
    "no page of ours",
    "no Prometheus format",
    "players lie",
    "GPU lies",
    "counters go back",
)

BLIND = ("missing page", "never answered", "old page", "no page of ours", "no Prometheus format")


@dataclass(frozen=True)
class Case:
    """Two gateways with a load each, a fleet, and one fault of the second gateway or of an exporter."""

    fault: str
    loads: tuple[int, int]
    current: int

    @property
    def needed(self) -> int:
        return max(1, math.ceil(sum(self.loads) / TARGET))


def page(load: int, at: float, *, players: float = 2.0) -> str:
    served = 100 * at
    return (
        "# TYPE gameai_gateway_queue_depth gauge\n"
        f'gameai_gateway_queue_depth{{tier="{TIER}"}} 0\n'
        f'gameai_gateway_in_flight{{tier="{TIER}"}} {load}\n'
        f'gameai_gateway_slots{{tier="{TIER}"}} 640\n'
        f'gameai_gateway_players{{world="{WORLD}",state="online"}} {players}\n'
        f'gameai_gateway_engine_requests_total{{tier="{TIER}",world="{WORLD}"}} {served}\n'
        f'gameai_gateway_engine_request_duration_seconds_sum{{tier="{TIER}"}} {served}\n'
        f'gameai_gateway_engine_request_duration_seconds_count{{tier="{TIER}"}} {served}\n'
    )


def broken(case: Case, at: float) -> str | None:
    """The page of the second gateway, None where it does not answer."""
    load = case.loads[1]
    text, values = page(load, at), f"}} {100 * at}\n"
    pages = {
        "missing page": text if at < 20 else None,
        "old page": text if at < 60 else None,
        "never answered": None,
        "no page of ours": "<html>404</html>" if at >= 20 else text,
        "no Prometheus format": f"{text}gameai_gateway_queue_depth{{" if at >= 20 else text,
        "not a number": text.replace(values, "} NaN\n"),
        "negative": text.replace(values, "} -3\n"),
        "infinite": text.replace(values, "} +Inf\n"),
        "players lie": page(load, at, players=9e15),
        "counters go back": page(load, 120 - at),
    }
    return pages.get(case.fault, text)


def decided(case: Case) -> Decision:
    """The decision after two minutes of pages every five seconds."""
    estimates = Estimates()
    for now in range(0, 121, 5):
        estimates.gateways(["a", "b"])
        for name, text in (("a", page(case.loads[0], now)), ("b", broken(case, now))):
            if text is not None:
                with contextlib.suppress(ValueError):
                    estimates.take(name, parse(text, now, GATEWAY, GATEWAY_FAMILY))
    signals = estimates.signals(
        TIER, [WORLD], expected=0, requests_per_player=1.0, now=120.0, maximum={WORLD: MAXIMUM}
    )
    percent = 100.0 if case.fault == "GPU lies" else 10.0
    fleet = Fleet(current=case.current, ready=case.current, target_ms=16)
    signals = replace(signals, gpu_percent=Sample(percent, 120.0))
    return decide(SCALING, fleet, signals, Memory(), now=120.0, wall=WALL)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_decision_goes_in_the_right_direction_whatever_a_page_says(fault: str) -> None:
    chance = random.Random(f"lies {fault}")
    for _ in range(40):
        loads = (chance.choice([0, 8, 40, 200]), chance.choice([0, 8, 40, 150]))
        case = Case(fault=fault, loads=loads, current=chance.randint(1, 50))
        found = decided(case)
        # An average within 10 % of its target asks for no other number.
        slack = math.ceil(0.1 * case.current)
        if fault in BLIND:
            # Half of the load is not seen: nothing is removed; what is seen may add.
            assert case.current <= found.desired <= max(case.current, case.needed), case
        elif fault == "GPU lies":
            most = max(case.needed + slack, case.current + 1)
            assert case.needed - slack <= found.desired <= most, case
        else:
            # So many players as a world may have need two replicas; what is reported of it adds no more.
            assert abs(found.desired - max(case.needed, 2)) <= max(1, slack), case
