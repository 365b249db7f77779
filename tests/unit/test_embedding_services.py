"""What is sent to an embedding service, what its answers mean, and when it is left alone."""

import argparse
import base64
from typing import Any

import numpy as np
import orjson
import pytest
from gameai.knowledge.embedding import breaker, choice, openai_wire
from gameai.knowledge.embedding.breaker import Breaker
from gameai.knowledge.embedding.embedder import EmbeddingError
from gameai.knowledge.usage import UsageError
from gameai_contract import embedding
from gameai_contract.names import EMBEDDING_KEY_ENVIRONMENT

UP, DOWN = [0.0, 2.0], [0.0, -0.5]


def packed(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def answer(*vectors: Any, indexes: list[int] | None = None) -> bytes:
    numbers = range(len(vectors)) if indexes is None else indexes
    items = [
        {"object": "embedding", "index": index, "embedding": each}
        for index, each in zip(numbers, vectors, strict=True)
    ]
    return orjson.dumps({"object": "list", "data": items, "usage": {"total_tokens": 3}})


def test_a_request_names_model_and_texts_and_a_length_only_where_one_is_asked_for() -> None:
    plain = {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}
    assert orjson.loads(openai_wire.request("m", ["a", "b"], None)) == plain
    short = orjson.loads(openai_wire.request("m", ["a", "b"], 256))
    assert short == {**plain, "dimensions": 256}


@pytest.mark.parametrize("form", [list, packed], ids=["numbers", "base64"])
def test_vectors_come_in_the_order_of_the_texts_and_have_length_1(form: Any) -> None:
    data = answer(form(DOWN), form(UP), indexes=[1, 0])
    assert openai_wire.vectors(data, 2, 2).tolist() == [[0.0, 1.0], [0.0, -1.0]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "no embeddings (the whole: Invalid JSON"),
        (b"{}", "no embeddings (data: Field required): is the URL that of its API"),
        (answer("x" * 4, UP), "neither numbers nor base64"),
        (answer("????", UP), "neither numbers nor base64"),
        (answer("\u00e9" * 4, UP), "neither numbers nor base64"),
        (answer(UP), "1 vectors for 2 texts"),
        (answer(UP, UP, indexes=[0, 0]), "or with other indexes"),
        (answer(UP, [1.0]), "vectors of 1 dimensions, not 2"),
        (answer(UP, [0.0, 0.0]), "a vector without a direction"),
        (answer(UP, packed([float("nan"), 1.0])), "a vector without a direction"),
        (answer(UP, [1e300, 1e300]), "a vector without a direction"),
    ],
)
def test_an_answer_that_is_no_vectors_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(EmbeddingError) as raised:
        openai_wire.vectors(data, 2, 2)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"error": {"message": "The model `x`\\n does\\u0000 not exist.", "code": 1}}', "The model `x` does not exist."),
        (b'{"error": "out of memory"}', "out of memory"),
        (b'{"message": "too long", "object": "error"}', "too long"),
        (b'{"detail": []}', ""),
        (b"[]", ""),
        (b"Bad Gateway", ""),
    ],
)  # fmt: skip
def test_an_error_is_quoted_on_one_line(data: bytes, words: str) -> None:
    assert openai_wire.message(data) == words


def test_the_largest_answer_has_room_for_every_number() -> None:
    longest = [-1.2345678901234567e-300] * 2000
    assert len(answer(*[longest] * 64)) < openai_wire.most_bytes(64, 2000)


def test_a_service_that_failed_three_times_is_left_alone_and_then_tried_by_one_call() -> None:
    now = 100.0
    made = Breaker(lambda: now)
    for _ in range(breaker.FAILURES - 1):
        made.failed("away")
        assert made.entered() == ""
    made.failed("away")
    assert made.entered() == "away"
    now += breaker.SECONDS
    assert [made.entered() for _ in range(3)] == ["", "away", "away"]
    # A trial that never ends keeps the service from no other one.
    now += breaker.SECONDS
    assert made.entered() == ""
    made.failed("still away")
    assert made.entered() == "still away"
    made.succeeded()
    assert made.entered() == ""


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://api.openai.com/v1", True),
        ("http://tei.models.svc:8080", True),
        ("http://10.0.0.7/v1/x", True),
        ("https://api.openai.com/v1/", False),
        ("https://user:key@api.openai.com/v1", False),
        ("https://api.openai.com/v1?key=1", False),
        ("ftp://api.openai.com", False),
        ("https://", False),
        ("https://a:99999", False),
        ("https://a..b/v1", False),
        ("https://a.-b/v1", False),
        (f"https://{'a' * 64}.example/v1", False),
        ("https://a\n/v1", False),
    ],
)
def test_the_url_of_a_service_has_neither_credentials_nor_a_query(url: str, good: bool) -> None:
    assert embedding.is_url(url) is good


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("text-embedding-3-small", True),
        ("BAAI/bge-m3", True),
        ("amazon.titan-embed-text-v2:0", True),
        ("", False),
        ("a b", False),
        ("/x", False),
        ("x" * 129, False),
    ],
)
def test_the_name_of_a_model_is_a_name(name: str, good: bool) -> None:
    assert embedding.is_model(name) is good


def chosen(*flags: str) -> choice.Choice:
    parser = argparse.ArgumentParser()
    choice.add_flags(parser)
    return choice.chosen(parser.parse_args(flags))


URL, NAME, LENGTH = (
    "--embedding-url=https://x/v1",
    "--embedding-model=m",
    "--embedding-dimensions=8",
)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--embedding-url=ftp://x"], "--embedding-url must be http"),
        (["--embedding-url=https://u:p@x/v1"], "without credentials"),
        ([URL], "--embedding-model must name a model"),
        ([URL, NAME], "--embedding-dimensions must be the length of the model's vectors"),
        ([URL, NAME, "--embedding-dimensions=2001"], "from 1 to 2000"),
        ([NAME], "--embedding-model needs --embedding-url"),
        ([LENGTH], "--embedding-dimensions needs --embedding-url"),
        (
            ["--embedding-request-dimensions"],
            "--embedding-request-dimensions needs --embedding-url",
        ),
    ],
)
def test_flags_of_the_model_are_checked(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen(*flags)
    assert words in str(raised.value)


def test_a_key_is_sent_without_its_line_break_and_never_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EMBEDDING_KEY_ENVIRONMENT, "sk-1\n")
    made = chosen("--embedding-url=https://x/v1/", NAME, LENGTH).service
    assert made is not None
    assert (made.key, made.url) == ("sk-1", "https://x/v1")
    assert "sk-1" not in repr(made)
    monkeypatch.setenv(EMBEDDING_KEY_ENVIRONMENT, "sk-\u00e9 x")
    with pytest.raises(UsageError, match="printable ASCII") as raised:
        chosen(URL, NAME, LENGTH)
    assert "sk-" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://api.openai.com/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://127.0.0.1:8080", True),
        ("http://tei:8080/v1", True),
        ("http://tei.models.svc.cluster.local/v1", True),
        ("http://api.openai.com/v1", False),
        ("http://openai.com", False),
        ("http://10.0.0.7/v1", False),
        ("http://134744072/v1", False),
        ("http://tei.models.svc.evil.example/v1", False),
    ],
)
def test_a_key_is_not_sent_in_clear_over_other_networks(
    monkeypatch: pytest.MonkeyPatch, url: str, good: bool
) -> None:
    monkeypatch.setenv(EMBEDDING_KEY_ENVIRONMENT, "sk-1")
    flags = [f"--embedding-url={url}", NAME, LENGTH]
    if good:
        assert chosen(*flags).service is not None
        return
    with pytest.raises(UsageError, match="a key is not sent in clear"):
        chosen(*flags)


def test_without_a_url_the_model_runs_in_the_process() -> None:
    assert chosen() == choice.Choice()
