"""PURE: the embeddings API of OpenAI, which vLLM, Text Embeddings Inference, Ollama and others have too: bodies of requests and answers.

https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gameai.knowledge.embedding.embedder import EmbeddingError, Vectors

_Numbers = NDArray[np.float64]
_FLOAT_BYTES = 4
# A number of a vector in JSON takes 25 characters at most; and what stands around the vectors.
_NUMBER_BYTES, _FRAME_BYTES = 26, 64 << 10


class _Item(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    index: Annotated[int, Field(ge=0)]
    embedding: list[float] | str


class _Answer(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")
    data: list[_Item]


def request(model: str, texts: Sequence[str], requested: int | None) -> bytes:
    """The body for these texts; `requested`: the length that the service is asked for."""
    # Base64 is a third of the bytes of numbers; servers that do not know it send numbers.
    body: dict[str, object] = {"model": model, "input": list(texts), "encoding_format": "base64"}
    if requested is not None:
        body["dimensions"] = requested
    return orjson.dumps(body)


def most_bytes(number: int, dimensions: int) -> int:
    """The largest answer with this many vectors."""
    return number * (dimensions * _NUMBER_BYTES + 1024) + _FRAME_BYTES


def vectors(data: bytes, number: int, dimensions: int) -> Vectors:
    """The vectors of an answer, of length 1, in the order of the texts: an array of shape (number, dimensions). Raises `EmbeddingError`."""
    try:
        found = _Answer.model_validate_json(data).data
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise EmbeddingError(
            f"the embedding service's answer has no embeddings ({where or 'the whole'}: {first['msg']}): is the URL that of its API, such as https://api.openai.com/v1?"
        ) from None
    if sorted(each.index for each in found) != list(range(number)):
        raise EmbeddingError(
            f"the embedding service answered with {len(found)} vectors for {number} texts, or with other indexes"
        )
    made = np.empty((number, dimensions), np.float64)
    for each in found:
        made[each.index] = _row(each.embedding, dimensions)
    return _normalised(made)


def message(data: bytes) -> str:
    """What an answer with an error says, on one line; empty where it says nothing known."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    # OpenAI has an object, others a text or a field of their own.
    error = body.get("error", body) if isinstance(body, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    if not isinstance(text, str):
        return ""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _row(given: list[float] | str, dimensions: int) -> _Numbers:
    row = _decoded(given) if isinstance(given, str) else np.array(given, np.float64)
    if len(row) != dimensions:
        raise EmbeddingError(
            f"the embedding service answered with vectors of {len(row)} dimensions, not {dimensions}: "
            "--embedding-dimensions (spec.embedding.openAI.dimensions) must be that number"
        )
    return row


def _decoded(text: str) -> _Numbers:
    try:
        data = base64.b64decode(text, validate=True)
    # binascii.Error is one; letters that are not ASCII are another.
    except ValueError:
        data = b"?"
    if len(data) % _FLOAT_BYTES:
        raise EmbeddingError("the embedding service's vectors are neither numbers nor base64")
    return np.frombuffer(data, "<f4").astype(np.float64)


def _normalised(given: _Numbers) -> Vectors:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(given, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise EmbeddingError("the embedding service answered with a vector without a direction")
    found: Vectors = (given / lengths).astype(np.float32)
    return found
