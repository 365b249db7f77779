"""PURE: a plan as an SVG picture: replicas of each tier, and costs, for numbers of players."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from xml.sax.saxutils import escape

from gameai_operator.scaling.budget import Planned

_WIDTH, _PANEL, _GAP = 760, 250, 60
_LEFT, _RIGHT, _TOP = 70, 190, 50
# Eight tiers differ; further ones begin again with the first color.
_COLORS = (
    "#1f6fb4",
    "#c8511b",
    "#2b8a57",
    "#8a4fb0",
    "#a67c00",
    "#b0305c",
    "#3b7f86",
    "#5b5b5b",
)
_LABEL_HEIGHT = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class _Panel:
    """One diagram: a title, and lines by name over the same numbers of players."""

    title: str
    top: int
    lines: Mapping[str, Sequence[float]]

    @property
    def most(self) -> float:
        """The upper end of the axis: 1, 2 or 5 times a power of ten."""
        highest = max(itertools.chain([0.0], *self.lines.values())) or 1.0
        power = 10.0 ** math.floor(math.log10(highest))
        return next(step * power for step in (1, 2, 5, 10) if step * power >= highest)


def svg(rows: Sequence[Planned]) -> str:
    """A picture of a plan, as text. Tiers without a price count as costing nothing."""
    players = sorted({each.players for each in rows})
    tiers = list(dict.fromkeys(each.tier for each in rows))
    by_place = {(each.tier, each.players): each for each in rows}
    replicas = {
        tier: [float(by_place[tier, count].replicas) for count in players] for tier in tiers
    }
    month = [_month(rows, count) for count in players]
    panels = (
        _Panel(title="Replicas", top=_TOP, lines=replicas),
        _Panel(title="USD per month, all tiers", top=_TOP + _PANEL + _GAP, lines={"all": month}),
        _Panel(
            title="USD per player and month, all tiers",
            top=_TOP + 2 * (_PANEL + _GAP),
            lines={"all": [each / max(1, n) for each, n in zip(month, players, strict=True)]},
        ),
    )
    height = _TOP + 3 * (_PANEL + _GAP)
    body = "\n".join(part for panel in panels for part in _drawn(panel, players))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _month(rows: Sequence[Planned], players: int) -> float:
    costs = (each.per_month or Decimal(0) for each in rows if each.players == players)
    return float(sum(costs, Decimal(0)))


def _drawn(panel: _Panel, players: Sequence[int]) -> list[str]:
    bottom = panel.top + _PANEL
    right = _WIDTH - _RIGHT
    parts = [_text(_LEFT, panel.top - 14, panel.title, weight="bold")]
    for part in range(5):
        value = panel.most * part / 4
        at = _height(panel, value)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 8, at + 4, f"{value:,.4g}", anchor="end"))
    for index, count in enumerate(players):
        parts.append(_text(_across(index, players), bottom + 18, f"{count:,}", anchor="middle"))
    parts.append(_text(right + 12, bottom + 18, "players"))
    taken = -math.inf
    ends = sorted(panel.lines, key=lambda name: -panel.lines[name][-1])
    for color, name in zip(itertools.cycle(_COLORS), ends, strict=False):
        points = [
            (_across(index, players), _height(panel, value))
            for index, value in enumerate(panel.lines[name])
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        # Labels that would lie on each other go below each other.
        taken = max(points[-1][1] + 4, taken + _LABEL_HEIGHT)
        parts.append(_text(right + 12, taken, name, color=color))
    return parts


def _across(index: int, players: Sequence[int]) -> float:
    width = _WIDTH - _RIGHT - _LEFT
    return _LEFT + (width * index / (len(players) - 1) if len(players) > 1 else width / 2)


def _height(panel: _Panel, value: float) -> float:
    return panel.top + _PANEL * (1 - value / panel.most)


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    color: str = "#222222",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )
