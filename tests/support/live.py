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


def knowledge_base(namespace: str, *sources: str, name: str = "lore", **spec: Any) -> Json:
    """A knowledge base in a database of the user's own; `sources` are names of ConfigMaps."""
    external = {
        "host": "10.1.2.3",
        "database": "memory",
        "secretRef": {"name": "lore-app"},
        "tls": {"mode": "Require"},
    }
    small = {
        "database": {"external": external},
        "sources": [{"name": each, "configMap": {"name": each}} for each in sources],
        "service": {"replicas": 1, "cpu": "10m", "memory": "32Mi"},
    }
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "KnowledgeBase",
        "metadata": {"name": name, "namespace": namespace},
        "spec": small | spec,
    }


def texts(namespace: str, name: str, **documents: str) -> Json:
    """A ConfigMap with documents."""
    data = {f"{key}.md": text for key, text in documents.items()}
    labels = {"app.kubernetes.io/part-of": "gameai"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def world(namespace: str, name: str = "moor", **spec: Any) -> Json:
    """A world of two built-in services; `spec` replaces fields."""
    small = {"services": [{"name": "time-manager"}, {"name": "weather-manager"}]}
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "GameWorld",
        "metadata": {"name": name, "namespace": namespace},
        "spec": small | spec,
    }
