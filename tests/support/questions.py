"""A gateway's view of two tiers and a world, and questions resolved against it, without sockets."""

from typing import Any

from gameai.gateway.routing.resolve import Plan, Planner
from gameai.gateway.routing.snapshot import View
from gameai.gateway.sources import view_file
from gameai.inference.v1 import inference_pb2 as pb

NPCS = """\
version: 1
archetypes:
  guard:
    actions: [patrol, attack, flee]
    defaults: [patrol, flee]
    cache:
      fields: {threat: {step: 10}, hour: {}}
      variants: 4
  wolf:
    actions: [howl]
    defaults: [howl]
    cache: {scope: Tier}
  bard:
    defaults: ["Hm?"]
    cache: {freeText: true}
  sage:
    cache: {}
"""
FILE = """\
tiers:
- {name: gold, namespace: shared, class: Gold, slots: 16, endpoints: ["10.0.0.1:8000", "10.0.0.2:8000"]}
- {name: silver, namespace: shared, class: Silver, contextTokens: 512, model: npc}
worlds:
- name: eldermoor
  namespace: games
  epoch: e1
  roles:
  - {name: reaction, tier: shared/gold, deferredTo: dialogue, share: {weight: 3, maxInFlight: 8}}
  - {name: dialogue, tier: shared/silver, deadlineMs: 400, fallback: [Default]}
  archetypes: npcs.yaml
  callers: [games/server]
"""


def read(text: str = FILE, npcs: str = NPCS) -> View:
    return view_file.parse(text, lambda name: {"npcs.yaml": npcs}[name])


def plan(view: View | None = None, **asked: Any) -> Plan:
    view = view or read()
    given: dict[str, Any] = {"role": "reaction", "prompt": pb.Prompt(parts=["A wolf!"])}
    return Planner(view).plan(view.worlds["games/eldermoor"], pb.Question(**(given | asked)))


def guard(**more: Any) -> Plan:
    return plan(archetype="guard", **({"fields": {"threat": "15", "hour": "night"}} | more))
