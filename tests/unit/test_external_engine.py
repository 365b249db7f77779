"""The decisions of an engine elsewhere: its budget, when it is asked, and what is sent."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from gameai.external_engine import translation
from gameai.external_engine.budget import NANO, Budget, Prices
from gameai.external_engine.gate import Gate
from gameai.external_engine.translation import StreamUsage, UnacceptableError

PRICES = Prices(input_usd=Decimal("0.4"), output_usd=Decimal("1.6"))


def test_tokens_cost_what_their_prices_say_rounded_up() -> None:
    assert PRICES.of(1_000_000, 0) == Decimal("0.4") * NANO
    assert PRICES.of(1_000, 500) == 1_200_000
    assert Prices(input_usd=Decimal("0.000001"), output_usd=Decimal(0)).of(1, 0) == 1
    assert PRICES.of(0, 0) == 0


def test_a_budget_counts_what_runs_and_what_was_spent_within_an_hour() -> None:
    budget = Budget(Decimal(1), PRICES)
    assert budget.reserve(NANO // 2, 30.0)
    assert budget.reserve(NANO // 2, 30.0)
    assert not budget.reserve(1, 30.0), "all of it is set aside"
    budget.settle(NANO // 2, NANO // 4, 40.0)
    assert budget.left(40.0) == NANO // 4
    budget.settle(NANO // 2, 0, 45.0)
    assert budget.left(45.0) == NANO // 4 * 3
    # In the next minute.
    assert budget.reserve(NANO // 4 * 3, 70.0)
    budget.settle(NANO // 4 * 3, NANO // 4 * 3, 70.0)
    assert budget.left(3659.0) == 0
    assert budget.left(3660.0) == NANO // 4, "what was spent in the first minute"
    assert budget.left(3719.0) == NANO // 4
    assert budget.left(3720.0) == NANO
    assert budget.reserve(5, 3800.0)
    budget.settle(5, 0, 3800.0)
    assert budget.left(3800.0) == NANO


def test_a_budget_says_when_there_is_room_for_a_sum() -> None:
    budget = Budget(Decimal(1), PRICES)
    assert budget.seconds_until(NANO, 0.0) == 0.0
    for minute in (0, 1, 2):
        assert budget.reserve(NANO // 4, 60.0 * minute)
        budget.settle(NANO // 4, NANO // 4, 60.0 * minute)
    assert budget.seconds_until(NANO // 4, 120.0) == 0.0
    assert budget.seconds_until(NANO // 2, 120.0) == 3660.0 - 120.0
    assert budget.seconds_until(NANO, 120.0) == 3780.0 - 120.0
    # What runs may end sooner: there is no time to say.
    assert budget.reserve(NANO // 4, 130.0)
    assert budget.seconds_until(NANO // 4, 130.0) == 0.0


def test_a_service_that_fails_again_and_again_is_asked_less_often() -> None:
    gate = Gate()
    for _ in range(4):
        gate.failed("no answer", 0.0, 0.0)
    assert gate.fault(0.0) == ""
    gate.failed("no answer", 0.0, 1.0)
    assert (gate.fault(5.9), gate.seconds(5.0)) == ("no answer", 1.0)
    # They began before it was closed.
    for _ in range(20):
        gate.failed("no answer", 1.0, 2.0)
    assert (gate.fault(6.0), gate.seconds(7.0)) == ("", 0.0)
    gate.failed("no answer", 6.0, 6.0)
    assert gate.seconds(6.0) == 10.0
    for each in range(20):
        gate.failed("no answer", 100.0 * each + 50.0, 100.0 * each + 50.0)
    assert gate.seconds(1950.0) == 60.0
    gate.answered()
    gate.failed("no answer", 3000.0, 3000.0)
    assert gate.fault(3000.0) == ""


def test_a_large_request_says_nothing_of_the_budget() -> None:
    budget = Budget(Decimal(1), PRICES)
    assert budget.fault(0.0) == ""
    assert budget.reserve(NANO // 4, 0.0)
    budget.settle(NANO // 4, NANO // 4, 0.0)
    assert not budget.reserve(NANO, 0.0)
    assert budget.fault(0.0) == ""
    for _ in range(3):
        assert budget.reserve(NANO // 4, 0.0)
    assert budget.fault(0.0) == "", "what runs may cost less"
    for _ in range(3):
        budget.settle(NANO // 4, NANO // 4, 60.0)
    assert budget.fault(60.0) == "the budget is spent: room in 3600 s"


def test_a_longer_time_that_a_service_asked_for_stays() -> None:
    gate = Gate()
    gate.close("the key is refused", 30.0, 0.0)
    gate.close("busy", 5.0, 1.0)
    assert gate.fault(29.0) == "the key is refused"


def request(**fields: Any) -> bytes:
    return orjson.dumps({"model": "scribe", "messages": [], "max_tokens": 40, **fields})


def test_a_request_gets_the_name_of_the_services_model() -> None:
    found = translation.outgoing(request(seed=7), "gpt", completion_limit=False)
    assert orjson.loads(found.body) == {
        "model": "gpt", "messages": [], "seed": 7, "max_tokens": 40,
    }  # fmt: skip
    assert (found.labels, found.most_tokens, found.streams) == ((), 40, False)


def test_reasoning_models_take_their_limit_by_another_name() -> None:
    found = translation.outgoing(request(), "gpt", completion_limit=True)
    assert orjson.loads(found.body) == {
        "model": "gpt", "messages": [], "max_completion_tokens": 40,
    }  # fmt: skip
    # They think before they choose, at their own temperature.
    given = request(structured_outputs={"choice": ["A"]}, temperature=0)
    found = translation.outgoing(given, "gpt", completion_limit=True)
    assert found.most_tokens == 4096
    assert "temperature" not in orjson.loads(found.body)
    given = orjson.dumps({"max_completion_tokens": 5})
    assert translation.outgoing(given, "gpt", completion_limit=True).most_tokens == 5
    assert translation.outgoing(b"{}", "gpt", completion_limit=True).most_tokens == 2048


def test_a_stream_reports_its_tokens() -> None:
    found = translation.outgoing(request(stream=True), "gpt", completion_limit=False)
    assert orjson.loads(found.body)["stream_options"] == {"include_usage": True}
    assert found.streams
    usage = StreamUsage()
    for part in (
        b'data: {"choices": [], "us',
        b'age": {"prompt_tokens": 3,',
        b' "completion_tokens": 4}}\n',
    ):
        assert usage.found is None
        usage.feed(part)
    usage.feed(b'\ndata: {"usage": null}\n\ndata: [DONE]\n\n')
    assert usage.found == (3, 4)


def test_a_choice_is_asked_for_by_a_schema_and_answered_by_its_label() -> None:
    given = request(structured_outputs={"choice": ["A", "B"]}, temperature=0, max_tokens=1)
    found = translation.outgoing(given, "gpt", completion_limit=False)
    body = orjson.loads(found.body)
    assert found.labels == ("A", "B")
    assert (body["max_tokens"], body["temperature"]) == (32, 0)
    assert "structured_outputs" not in body
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"choice": {"type": "string", "enum": ["A", "B"]}}
    assert (schema["required"], schema["additionalProperties"]) == (["choice"], False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"[", "the body must be a JSON object"),
        (b"7", "the body must be a JSON object"),
        (b"[[1, 2]]", "the body must be a JSON object"),
        (request(structured_outputs={"json": {}}), "structured_outputs must have a choice"),
        (request(structured_outputs=7), "structured_outputs must have a choice"),
        (request(structured_outputs={"choice": [7]}), "structured_outputs must have a choice"),
        (request(structured_outputs={"choice": ["A"]}, stream=True), "cannot be streamed"),
        (request(max_tokens=0), "max_tokens must be a whole number of at least 1"),
        (request(max_tokens=True), "max_tokens must be a whole number of at least 1"),
        (request(n=2), "n must be 1"),
    ],
)
def test_a_request_that_cannot_be_forwarded_is_refused(given: bytes, says: str) -> None:
    with pytest.raises(UnacceptableError, match=says):
        translation.outgoing(given, "gpt", completion_limit=False)


def answer(content: Any, **fields: Any) -> bytes:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return orjson.dumps({"model": "gpt-2026", "choices": [choice], **fields})


@pytest.mark.parametrize(
    ("content", "labels", "found"),
    [
        ("a text", (), "a text"),
        (None, (), None),
        ('{"choice": "B"}', ("A", "B"), "B"),
        (" B\n", ("A", "B"), "B"),
    ],
)
def test_an_answer_has_the_tiers_model_name(
    content: Any, labels: tuple[str, ...], found: Any
) -> None:
    document = orjson.loads(translation.incoming(answer(content), "scribe", labels))
    assert document["model"] == "scribe"
    assert document["choices"][0]["message"]["content"] == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"<html>", "no JSON object"),
        (b"{}", "has no message"),
        (b'{"choices": [{"message": 7}]}', "has no message"),
        (answer('{"choice": "C"}'), "chose none of the labels"),
        (answer([7]), "chose none of the labels"),
        (answer(None), "chose none of the labels"),
        (b"[[1, 2]]", "no JSON object"),
        (b'{"choices": [[1]]}', "has no message"),
        (
            b'{"choices": [{"message": {}, "finish_reason": "length"}]}',
            "limit of tokens is too small",
        ),
    ],
)
def test_an_answer_that_is_none_is_a_failure(given: bytes, says: str) -> None:
    with pytest.raises(UnacceptableError, match=says):
        translation.incoming(given, "scribe", ("A",))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (answer("x", usage={"prompt_tokens": 3, "completion_tokens": 4}), (3, 4)),
        (answer("x", usage={"prompt_tokens": 3, "completion_tokens": -4}), None),
        (answer("x", usage={"prompt_tokens": 3, "completion_tokens": "4"}), None),
        (answer("x"), None),
        (b"{", None),
    ],
)
def test_tokens_are_counted_where_they_are_reported(
    given: bytes, found: tuple[int, int] | None
) -> None:
    assert translation.usage(given) == found


@pytest.mark.parametrize("labels", [(), ("A", "B")])
@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "content_filter", "message": {"content": ""}},
        {"finish_reason": "stop", "message": {"content": None, "refusal": "I cannot."}},
    ],
)
def test_an_answer_that_is_withheld_is_no_failure(choice: Any, labels: tuple[str, ...]) -> None:
    given = orjson.dumps({"choices": [choice]})
    found = orjson.loads(translation.incoming(given, "scribe", labels))
    assert found["choices"][0]["finish_reason"] == "content_filter"


def test_an_error_is_passed_on_without_the_key() -> None:
    given = translation.error("Incorrect API key: sk-1234.", "auth")
    assert translation.said(given, "sk-1234") == ("Incorrect API key: ….", "")
    assert translation.said(given, "")[0] == "Incorrect API key: sk-1234."
    assert translation.said(b"<html>", "sk-1234") == ("", "")
    quota = b'{"error": {"message": "no", "code": "insufficient_quota"}}'
    assert translation.said(quota, "")[1] == "insufficient_quota"
