"""What tests of the schemas share: a manifest with one field replaced, and what the API server says to it."""

import copy
from typing import Any

from gameai_devcluster.api import Api, ApiError, Json, path


def changed(document: Json, where: str, value: Any) -> Json:
    """The document with one field replaced, or removed where the value is None."""
    made = copy.deepcopy(document)
    *parents, last = where.split(".")
    node = made
    for parent in parents:
        node = node.setdefault(parent, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
    return made


def attempt(api: Api, document: Json, **query: str) -> str:
    """Create without keeping; the server's refusal, or nothing."""
    where = path(document["kind"], document["metadata"]["namespace"])
    options = {"dryRun": "All", "fieldValidation": "Strict", **query}
    try:
        api.request("POST", where, body=document, query=options)
    except ApiError as error:
        return error.message
    return ""


def sentences(schema: Json) -> list[str]:
    """The sentences of every rule of a schema."""
    own = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    below = [*schema.get("properties", {}).values(), schema.get("items")]
    return own + [text for each in below if each for text in sentences(each)]


MODEL = {"source": {"huggingFace": {"repository": "a/b"}}}


def external(url: str = "https://api.example/v1") -> Json:
    """The spec of a tier whose engine is elsewhere."""
    service = {"url": url, "model": "large", "secretRef": {"name": "large"}}
    return {"class": "Bronze", "engine": {"external": {"openAI": service}}}
