"""EDGE: the embedding model of a process, by its flags and variables: its own one, or that of a service."""

import argparse
import os
from dataclasses import dataclass

from gameai_contract.embedding import MOST_DIMENSIONS, is_model, is_url, keeps_key
from gameai_contract.names import (
    EMBEDDING_DIMENSIONS_ENVIRONMENT,
    EMBEDDING_KEY_ENVIRONMENT,
    EMBEDDING_MODEL_ENVIRONMENT,
    EMBEDDING_REQUEST_DIMENSIONS_ENVIRONMENT,
    EMBEDDING_URL_ENVIRONMENT,
)

from gameai.knowledge.embedding.embedder import Embedder
from gameai.knowledge.embedding.local import DIMENSIONS, MODEL, LocalEmbedder
from gameai.knowledge.embedding.remote import Patience, RemoteEmbedder, Service
from gameai.knowledge.usage import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that is used; without a service it runs in this process."""

    model: str = MODEL
    dimensions: int = DIMENSIONS
    service: Service | None = None

    def embedder(self, patience: Patience) -> Embedder:
        """The model; a service is asked as patiently as `patience` says. Raises `EmbeddingError`."""
        return RemoteEmbedder(self.service, patience) if self.service else LocalEmbedder()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the model."""
    add = parser.add_argument_group("embedding").add_argument
    add(
        "--embedding-url",
        default=os.environ.get(EMBEDDING_URL_ENVIRONMENT, ""),
        metavar="URL",
        help="API of an embedding service that answers POST URL/embeddings as OpenAI does, such as https://api.openai.com/v1 "
        f"(default: {MODEL} in this process); {EMBEDDING_KEY_ENVIRONMENT} is its key",
    )
    add(
        "--embedding-model",
        default=os.environ.get(EMBEDDING_MODEL_ENVIRONMENT, ""),
        metavar="NAME",
        help="with --embedding-url: name of the service's model",
    )
    add(
        "--embedding-dimensions",
        default=os.environ.get(EMBEDDING_DIMENSIONS_ENVIRONMENT, ""),
        metavar="NUMBER",
        help=f"with --embedding-url: length of its vectors, from 1 to {MOST_DIMENSIONS}",
    )
    add(
        "--embedding-request-dimensions",
        action="store_true",
        default=os.environ.get(EMBEDDING_REQUEST_DIMENSIONS_ENVIRONMENT, "") == "true",
        help="with --embedding-url: ask the service for vectors of that length, where its model can shorten them",
    )


def chosen(given: argparse.Namespace) -> Choice:
    """The model that the flags name. Raises `UsageError`, which does not quote the key."""
    url = given.embedding_url.rstrip("/")
    if not url:
        _check_alone(given)
        return Choice()
    if not is_url(url):
        raise UsageError(
            "--embedding-url must be http(s)://host[:port][/path], without credentials"
        )
    if not is_model(given.embedding_model):
        raise UsageError(
            "--embedding-model must name a model of the service, such as text-embedding-3-small"
        )
    if given.embedding_dimensions not in map(str, range(1, MOST_DIMENSIONS + 1)):
        raise UsageError(
            f"--embedding-dimensions must be the length of the model's vectors, from 1 to {MOST_DIMENSIONS}"
        )
    number, key = int(given.embedding_dimensions), _key()
    if key and not keeps_key(url):
        raise UsageError(
            f"--embedding-url must begin with https:// with {EMBEDDING_KEY_ENVIRONMENT}, or name this machine or a Service of "
            "the cluster: a key is not sent in clear over other networks"
        )
    service = Service(
        url=url,
        model=given.embedding_model,
        dimensions=number,
        request_dimensions=given.embedding_request_dimensions,
        key=key,
    )
    return Choice(model=service.model, dimensions=number, service=service)


def _check_alone(given: argparse.Namespace) -> None:
    for name in ("model", "dimensions", "request_dimensions"):
        if getattr(given, f"embedding_{name}"):
            flag = f"--embedding-{name.replace('_', '-')}"
            raise UsageError(f"{flag} needs --embedding-url")


def _key() -> str:
    # Files and Secrets often end with a line break.
    key = os.environ.get(EMBEDDING_KEY_ENVIRONMENT, "").strip()
    if not all("!" <= each <= "~" for each in key):
        raise UsageError(f"{EMBEDDING_KEY_ENVIRONMENT} must have printable ASCII characters only")
    return key
