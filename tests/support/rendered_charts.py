"""Parts of the rendered charts."""

import argparse
from typing import Any

from gameai_devcluster import charts
from gameai_operator.environment import settings
from gameai_operator.flags import add_flags
from gameai_operator.settings import Settings

EVERY: dict[str, Any] = {
    "global": {"imageRegistry": "registry.example/mirror", "imagePullSecrets": ["registry"]},
    "image": {"repository": "operator", "tag": "9", "pullPolicy": "Always"},
    "workloads": {"image": "workloads:7", "worldsAtATime": 3},
    "replicas": 3,
    "namespaces": ["one", "two"],
    "capacity": {
        "label": "eks.amazonaws.com/capacityType",
        "spot": ["SPOT"],
        "onDemand": ["ON_DEMAND"],
    },
    "policy": {
        "allowedHostPaths": ["/mnt/models", "/data"],
        "allowedHubs": ["hub.example.com"],
        "allowedImages": ["registry.example/", "vllm/vllm-openai"],
        "allowedServiceAccounts": ["duel"],
        "allowedSecrets": [],
        "allowOpenNetworks": False,
    },
    "lease": {"durationSeconds": 30, "renewSeconds": 20, "retrySeconds": 4},
    "workers": 4,
    "resyncSeconds": 600,
    "logLevel": "DEBUG",
    "resources": {"requests": {"cpu": "1"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podLabels": {"team": "npc"},
    "podAnnotations": {"c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in documents if each["kind"] == kind]


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(each for each in of_kind(documents, kind) if each["metadata"]["name"] == name)


def pod(values: dict[str, Any] | None = None) -> dict[str, Any]:
    deployment = named(charts.rendered(values=values), "Deployment", "gameai-operator")
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def operator_settings(values: dict[str, Any] | None = None) -> Settings:
    """The settings that the operator takes from the chart's arguments."""
    parser = argparse.ArgumentParser()
    add_flags(parser, {})
    return settings(parser.parse_args(pod(values)["spec"]["containers"][0]["args"]))


def rights(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for each in documents for rule in each["rules"]]


GATEWAY = "gameai-operator-gateway"


def gateway(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return named(charts.rendered(values=values), "Deployment", GATEWAY)
