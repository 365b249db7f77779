"""What a whole game costs, for the reference."""

from collections.abc import Iterator, Sequence

from gameai_operator import planning
from gameai_operator.scaling.budget import Planned, plan

from gameai_devcluster.install import ROOT

_TIERS, _CAPACITY = "examples/players/tiers.yaml", "Gold=10,Silver=4.3"
_PLAYERS = (100, 500, 1000, 5000, 10_000)
ASSUMED = """## What is assumed

- All players are there at all hours: 730 hours a month. With nights and quiet days tiers scale in, and it costs less.
- A replica serves 10 requests/s (Gold) and 4.3 requests/s (Silver) within the latency target, and at Bronze 8 requests at a time of 30 s. Measure yours: it is the number that matters most.
- A player causes 2 engine requests a minute at Gold, 0.5 at Silver and 0.008 at Bronze, after cache and fallbacks. With a cache that answers 80 %, that is 10 questions a minute at Gold.
- Replicas are planned for 77.5 % of what they serve.
- Prices are those of `status.cost` (us-east-1; spot prices vary by day and zone). Gateways, game services, storage, traffic and the cluster itself come on top.
"""
INTRO = (
    f"What the tiers of [`{_TIERS}`](../../{_TIERS}) cost, by the same formula that the scaler forecasts with. "
    "Make it for your own manifests:\n\n"
    f"```\n.venv/bin/python -m gameai_operator plan -f {_TIERS} --requests-per-second {_CAPACITY}\n```"
)
HEADER = (
    *("tier", "players", "replicas", "on demand", "spot", "GPUs"),
    *("USD/h", "USD/month", "USD/player/month"),
)


def planned() -> list[Planned]:
    """The tiers of the example, for some numbers of players."""
    return list(plan(planning.tiers([ROOT / _TIERS]), _PLAYERS, planning.capacity(_CAPACITY)))


def rows() -> Iterator[Sequence[str]]:
    """The rows of the table, as `HEADER` names their cells."""
    for each in planned():
        document = each.document()
        yield (
            each.tier,
            f"{each.players:,}",
            *map(str, (each.replicas, each.on_demand, each.spot, each.gpus)),
            *(str(document[name]) for name in ("usdPerHour", "usdPerMonth", "usdPerPlayerMonth")),
        )
