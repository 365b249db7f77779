"""PURE: the embedding model of a KnowledgeBase: the memory's own one, or that of a service."""

from typing import Annotated, ClassVar

from gameai_contract.embedding import (
    MODEL_PATTERN,
    MOST_DIMENSIONS,
    MOST_MODEL_CHARACTERS,
    SERVICE_PATTERN,
    URL_PATTERN,
)
from pydantic import Field, StringConstraints

from gameai_operator.api.base import Model, ObjectName, Rule
from gameai_operator.api.database import SecretKey

ServiceUrl = Annotated[
    str, StringConstraints(min_length=8, max_length=253, pattern=f"^{URL_PATTERN}$")
]
ModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MOST_MODEL_CHARACTERS, pattern=f"^{MODEL_PATTERN}$"),
]
# The end of each refusal of another model.
ANOTHER_MODEL = (
    "vectors of two models are never compared. Create another KnowledgeBase with the new model, "
    "restore an archive of this one there (spec.restoreFrom), and change knowledgeBaseRef of the worlds"
)
_FIXED = f"cannot change: {ANOTHER_MODEL}"
_IN_CLUSTER = f"^http://{SERVICE_PATTERN}(:[0-9]+)?(/.*)?$"


KEY_IN_CLEAR = "with secretRef the url must begin with https://, or name a Service of this cluster: a key is not sent in clear over other networks"


def key_rule(message: str) -> Rule:
    """The rule of a type with `url` and `secretRef`."""
    return Rule(
        f"!has(self.secretRef) || self.url.startsWith('https://') || self.url.matches('{_IN_CLUSTER}')",
        message,
        ".url",
    )


class EmbeddingSecret(Model):
    """A Secret with the API key of an embedding service."""

    name: ObjectName
    """Name of the Secret, in the namespace of the knowledge base. Example: embedding-service."""
    key: SecretKey = "apiKey"
    """Key in it. Example: apiKey."""


class OpenAIEmbedding(Model):
    """A service that answers POST <url>/embeddings as OpenAI does: OpenAI, vLLM, Text Embeddings Inference, Ollama, or a gateway to Amazon Bedrock. It gets all texts that the memory keeps or searches for."""

    url: ServiceUrl
    """URL of its API, without /embeddings. Example: https://api.openai.com/v1."""
    model: ModelName
    """Name of its model. Immutable. Example: text-embedding-3-small."""
    dimensions: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)]
    """Length of its vectors. Immutable. Example: 1536."""
    request_dimensions: bool = False
    """Whether the service is asked for vectors of that length, for a model that can shorten them (OpenAI's text-embedding-3). Otherwise the model's own length must be `dimensions`."""
    secret_ref: EmbeddingSecret | None = None
    """API key that is sent to the service. After a change of the Secret: kubectl rollout restart deployment <name>-memory. Absent: none is sent. Example: {name: embedding-service}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.model == oldSelf.model", f"model {_FIXED}", ".model"),
        Rule("self.dimensions == oldSelf.dimensions", f"dimensions {_FIXED}", ".dimensions"),
        key_rule(KEY_IN_CLEAR),
    )


class Embedding(Model):
    """The model that turns texts into vectors."""

    open_ai: Annotated[OpenAIEmbedding, Field(alias="openAI")]
    """A service with the embeddings API of OpenAI. Example: {url: https://api.openai.com/v1, model: text-embedding-3-small, dimensions: 1536, secretRef: {name: embedding-service}}."""
