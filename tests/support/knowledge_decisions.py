"""Decisions about knowledge bases, one after the other, with what a cluster makes of them in between."""

import copy
import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gameai_contract.knowledge import SourceReport, TokenKeys
from gameai_devcluster.testing.rendering import NOW, TOKENS
from gameai_operator.controller.conditions import fold
from gameai_operator.controller.kind import Decision, Observed
from gameai_operator.controller.manifest import Key, key_of, timestamp
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.kinds import kinds
from gameai_operator.resources.job import Job
from gameai_operator.resources.stateful_set import StatefulSet
from gameai_operator.settings import Settings
from gameai_operator.world.objects import Authorities

from support import tiers, worlds
from support.tier_decisions import a_pod

EXTERNAL: dict[str, dict[str, Any]] = {
    "external": {
        "host": "10.1.2.3",
        "database": "memory",
        "secretRef": {"name": "lore-app"},
        "tls": {"mode": "Require"},
    }
}
HISTORIES = {"name": "histories", "configMap": {"name": "lore-histories"}}
CHRONICLE = {
    "name": "chronicle",
    "configMap": {"name": "lore-chronicle"},
    "world": "games/moor",
    "trust": 60,
}
DEPLOYMENT = Key("Deployment", "eldermoor", "lore-memory")
DATABASE = Key("StatefulSet", "eldermoor", "lore-db")


class Life:
    """One knowledge base in a cluster of plain values."""

    def __init__(self, *sources: dict[str, Any], **spec: Any) -> None:
        self.root: dict[str, Any] = {
            "apiVersion": "gameai.dev/v1alpha1",
            "kind": "KnowledgeBase",
            "metadata": {"name": "lore", "namespace": "eldermoor", "uid": "u", "generation": 1},
            "spec": {"database": EXTERNAL, "sources": list(sources), **spec},
        }
        self.settings = Settings()
        self.children: dict[Key, Child] = {}
        self.pods: list[Pod] = []
        self.references: dict[Key, Any] = dict(worlds.READY_TIERS)
        self.now = NOW
        self.tokens: TokenKeys | None = TOKENS
        self.seen: dict[str, Any] = {}

    def step(self) -> Decision:
        """A second passes; decide, take over the status, create what is wanted and remove what is not."""
        self.now += datetime.timedelta(seconds=1)
        seen: dict[str, Any] = {"pods": tuple(self.pods), "references": self.references}
        observed = Observed(
            root=self.root, children=self.children, now=self.now, **(seen | self.seen)
        )
        kind = kinds(self.settings, Authorities, lambda: self.tokens)["KnowledgeBase"]
        decision = kind.decide(observed)
        before = self.root.get("status", {}).get("conditions", ())
        self.root["status"] = {
            **copy.deepcopy(dict(decision.status)),
            "conditions": fold(before, decision.conditions, generation=1, now=timestamp(self.now)),
        }
        wanted = {key_of(each): each for each in decision.wanted}
        gone = set(self.children) - set(wanted) - set(decision.keep)
        for key in gone:
            del self.children[key]
        for key, manifest in wanted.items():
            self.children.setdefault(key, _child(key, manifest))
            self._apply(key, manifest)
        return decision

    def _apply(self, key: Key, manifest: Mapping[str, Any]) -> None:
        """What is remembered of a template is that of the last write."""
        facts = self.children[key].facts
        if key.kind in ("Deployment", "StatefulSet", "Job"):
            notes = manifest["metadata"]["annotations"]
            self.change(key, replace(facts, remembered=notes))

    def settle(self) -> Decision:
        """Until nothing changes any more."""
        for _ in range(10):
            before, children = copy.deepcopy(self.root.get("status")), set(self.children)
            decision = self.step()
            if (self.root["status"], set(self.children)) == (before, children):
                return decision
        raise AssertionError("decisions do not settle")

    def jobs(self, verb: str) -> list[str]:
        """Names of Jobs that are there."""
        return [
            key.name
            for key in sorted(self.children)
            if key.kind == "Job" and f"-{verb}-" in key.name
        ]

    def due(self, verb: str) -> list[str]:
        """Those that have not ended."""
        return [each for each in self.jobs(verb) if not self.facts("Job", each).complete]

    def finish(self, verb: str, report: SourceReport | None = None) -> str:
        """Have the one unfinished Job of this kind end in success; its name."""
        [name] = self.due(verb)
        self.end(name)
        if report is not None:
            self.pods.append(a_pod(group=name, name=name, dead="Succeeded", said=report.text()))
        return name

    def end(self, name: str) -> None:
        key = Key("Job", "eldermoor", name)
        self.change(key, replace(self.children[key].facts, complete=True))

    def serve(self, ready: int = 2) -> None:
        """So many pods of the memory are ready, all of the present template."""
        live = tiers.deployment(
            wanted=ready, asked=ready, apart=True, replicas=ready, updated=ready, ready=ready
        )
        before = self.facts("Deployment", "lore-memory")
        self.change(DEPLOYMENT, replace(live, remembered=before.remembered))

    def facts(self, kind: str, name: str) -> Any:
        return self.children[Key(kind, "eldermoor", name)].facts

    def change(self, key: Key, facts: Any) -> None:
        self.children[key] = replace(self.children[key], facts=facts)

    def source(self, name: str) -> Mapping[str, Any]:
        entry: Mapping[str, Any] = next(
            each for each in self.root["status"]["sources"] if each["name"] == name
        )
        return entry

    def served(self, *reports: SourceReport) -> "Life":
        """Migrated, served, and every source ingested."""
        self.settle()
        self.finish("migrate")
        self.settle()
        self.serve()
        for source, report in zip(self.root["spec"]["sources"], reports, strict=False):
            each = self.source(source["name"])["running"]
            self.end(each)
            self.pods.append(a_pod(group=each, name=each, dead="Succeeded", said=report.text()))
        self.settle()
        return self


def _child(key: Key, manifest: Mapping[str, Any]) -> Child:
    notes = manifest["metadata"].get("annotations", {})
    facts: Any = None
    if key.kind == "Job":
        facts = Job(complete=False)
    elif key.kind == "StatefulSet":
        facts = StatefulSet(ready=0, rolling=True, remembered=notes)
    elif key.kind == "Deployment":
        facts = tiers.deployment(wanted=2, replicas=2, updated=2, ready=0, remembered=notes)
    return Child(
        key=key,
        uid="c",
        version=1,
        owner=None,
        terminating=False,
        manifest_hash="",
        intact=True,
        facts=facts,
    )
