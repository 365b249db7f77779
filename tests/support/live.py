"""What integration tests apply."""

from typing import Any

from gameai_devcluster.api import Json


def manifest(namespace: str, name: str = "gold", **spec: Any) -> Json:
    """A tier that runs on the simulated CPU nodes; `spec` replaces fields."""
    small = {
        "class": "Gold",
        "model": {"source": {"huggingFace": {"repository": "a/b"}}},
        "engine": {"vllm": {"image": "registry.example/vllm-cpu:v0.32.0"}},
        "hardware": {"gpus": 0, "cpu": "10m", "memory": "16Mi"},
        "replicas": 2,
    }
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {"name": name, "namespace": namespace},
        "spec": small | spec,
    }


def world(namespace: str, name: str = "moor", **spec: Any) -> Json:
    """A world of two built-in services; `spec` replaces fields."""
    small = {"services": [{"name": "time-manager"}, {"name": "weather-manager"}]}
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "GameWorld",
        "metadata": {"name": name, "namespace": namespace},
        "spec": small | spec,
    }
