"""Requests to engines and their replies, whole and streamed."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from gameai.gateway import metrics
from gameai.gateway.app import player_gauge
from gameai.gateway.engines import chat_completions
from gameai.gateway.engines.chat_completions import (
    Completion,
    CompletionParameters,
    Events,
    Flaw,
    Thoughts,
    Verdict,
)
from gameai.gateway.routing.snapshot import View
from hypothesis import given
from hypothesis import strategies as st

HTTP = Path(__file__).parents[1] / "data/vllm/http"


UNFINISHED, BLANK, FILTERED = Flaw.UNFINISHED, Flaw.BLANK, Flaw.FILTERED


TOO_LONG = b'{"error": {"message": "max_tokens=600 cannot be greater than max_model_len=512."}}'


def body(request: bytes) -> dict[str, object]:
    head, _, text = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(text)}".encode() in head
    found: dict[str, object] = json.loads(text)
    return found


CHAT = [{"role": "user", "content": "A wolf!"}]


def test_actions_are_asked_for_by_one_letter_each() -> None:
    sent = body(
        chat_completions.request("h:1", "gold", CHAT, CompletionParameters(["patrol", "flee"]))
    )
    assert sent["structured_outputs"] == {"choice": ["A", "B"]}
    assert sent["max_tokens"] == 1
    assert sent["temperature"] == 0
    assert "seed" not in sent
    messages = sent["messages"]
    assert isinstance(messages, list)
    assert "A: patrol\nB: flee" in messages[0]["content"]
    assert messages[1:] == CHAT


def test_a_system_message_of_the_caller_follows_the_letters_in_one() -> None:
    chat = [{"role": "system", "content": "You guard the gate."}, *CHAT]
    found = chat_completions.messages_for(chat, ["patrol"])
    assert [each["role"] for each in found] == ["system", "user"]
    assert found[0]["content"].endswith("A: patrol\n\nYou guard the gate.")


def test_a_free_answer_has_its_limit_and_a_variant_its_seed() -> None:
    sent = body(
        chat_completions.request(
            "h:1", "silver", CHAT, CompletionParameters(tokens=40, streams=True)
        )
    )
    assert sent["max_tokens"] == 40
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}
    assert "structured_outputs" not in sent
    assert (
        body(chat_completions.request("h:1", "g", CHAT, CompletionParameters(["a"], seed=3)))[
            "seed"
        ]
        == 3
    )


def reply(text: Any, finish: Any, **more: object) -> bytes:
    choice = {"message": {"content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    return json.dumps({"choices": [choice], "usage": usage, **more}).encode()


@pytest.mark.parametrize(
    ("text", "finish", "actions", "said"),
    [
        ("B", "length", ["patrol", "flee"], "flee"),
        (" A\n", "stop", ["patrol", "flee"], "patrol"),
        ("C", "stop", ["patrol", "flee"], UNFINISHED),
        ("patrol", "stop", ["patrol", "flee"], UNFINISHED),
        ("", "stop", ["patrol"], UNFINISHED),
        (None, "stop", ["patrol"], UNFINISHED),
        ("A", "abort", ["patrol"], UNFINISHED),
        ("A", None, ["patrol"], UNFINISHED),
        ("A", "error", ["patrol"], UNFINISHED),
        ("Ha", "content_filter", [], FILTERED),
        ("Hail.", "stop", [], "Hail."),
        ("Hail", "abort", [], UNFINISHED),
        (["Hail"], "stop", [], UNFINISHED),
        ({"a": 1}, "stop", [], UNFINISHED),
        ("Hail", ["stop"], [], UNFINISHED),
        (None, "tool_calls", [], BLANK),
        (None, "length", [], BLANK),
        ("", "stop", [], BLANK),
        ("  \n ", "stop", [], BLANK),
        ("<think>\nok</think>\n\nGood day!", "stop", [], "Good day!"),
        ("ok</think> Good day!", "stop", [], "Good day!"),
        ("Well. <think>and so on", "length", [], "Well. "),
        ("<think>and so on", "length", [], BLANK),
    ],
)
def test_only_a_finished_answer_that_is_one_of_the_actions_counts(
    text: Any, finish: Any, actions: list[str], said: str
) -> None:
    found = chat_completions.completion(reply(text, finish), actions)
    assert (found if isinstance(found, Flaw) else found.text) == said


@pytest.mark.parametrize("count", [-1, 1.5, "7", None, True, 10**30])
def test_a_count_of_tokens_that_is_none_is_no_answer(count: object) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": count}
    assert chat_completions.completion(reply("Hail.", "stop", usage=usage), []) is UNFINISHED


@given(text=st.text(alphabet="<think/>ab ", max_size=60), cuts=st.lists(st.integers(0, 60)))
def test_thoughts_are_held_back_however_a_text_is_cut(text: str, cuts: list[int]) -> None:
    whole, parts = Thoughts(), Thoughts()
    expected = whole.feed(text) + whole.rest()
    places = [0, *sorted(min(each, len(text)) for each in cuts), len(text)]
    shown = "".join(parts.feed(text[a:b]) for a, b in itertools.pairwise(places)) + parts.rest()
    assert shown == expected
    assert "<think>" not in shown


def test_a_stream_of_thoughts_and_blanks_is_blank() -> None:
    events = Events(1000)
    shown = [events.feed(event(each)) for each in ("  ", "<th", "ink>h", "m</think>", " \n", "")]
    events.feed(event(None, "stop"))
    assert "".join(shown) + events.end() == ""
    assert events.completion() is BLANK


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"content": ["x"]}, "finish_reason": None},
        {"delta": {}, "finish_reason": ["stop"]},
    ],
)
def test_an_event_of_other_types_is_a_fault(choice: object) -> None:
    events = Events(1000)
    assert events.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n") == ""
    assert events.completion() is UNFINISHED


def test_a_reply_may_have_as_many_bytes_as_were_asked_for() -> None:
    assert chat_completions.most_bytes(1, streams=False) == 4352
    assert chat_completions.most_bytes(2048, streams=True) == (4 << 10) + (2 << 20)


def test_nothing_is_read_after_the_first_fault_of_a_stream() -> None:
    events = Events(1000)
    assert events.feed(event("Once") + b"data: {}\n\n" + event(" upon")) == "Once"
    assert events.feed(event(" a")) == ""
    assert events.completion() is UNFINISHED


def test_a_stream_has_no_more_events_than_were_asked_for() -> None:
    assert chat_completions.most_events(2048) == 8256
    events = Events(3)
    assert events.feed(b": hm\n\n" * 2 + event("Once")) == "Once"
    assert not events.faulty
    events.feed(b"\n\n")
    assert events.faulty


def test_an_event_without_an_end_is_not_kept() -> None:
    events = Events(1000)
    for _ in range(3):
        assert events.feed(b"data: " + b"x" * 60_000) == ""
    assert events.completion() is UNFINISHED
    assert len(events._rest) < 64 << 10


def test_a_free_answer_that_its_limit_ended_is_truncated() -> None:
    cut = chat_completions.completion(reply("Once upon", "length"), [])
    assert isinstance(cut, Completion)
    assert cut.truncated
    assert (cut.prompt_tokens, cut.completion_tokens) == (7, 1)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b'{"choices": []}', b"\xff"])
def test_what_is_no_completion_is_no_answer(text: bytes) -> None:
    assert chat_completions.completion(text, []) is UNFINISHED


@pytest.mark.parametrize(
    ("status", "text", "too_long", "verdict"),
    [
        (400, TOO_LONG, True, Verdict.QUESTION),
        (400, b'{"error": {"message": "System role not supported"}}', False, Verdict.QUESTION),
        (400, b"nonsense", False, Verdict.QUESTION),
        (413, b"", False, Verdict.QUESTION),
        (422, b"", False, Verdict.QUESTION),
        (401, b"", False, Verdict.REPLICA),
        (403, b"", False, Verdict.REPLICA),
        (404, b'{"error": {"message": "no model"}}', False, Verdict.REPLICA),
        (405, b"", False, Verdict.REPLICA),
        (302, b"", False, Verdict.REPLICA),
        (429, b"", False, Verdict.BUSY),
        (503, b'{"error": {"message": "EngineCore encountered an issue"}}', False, Verdict.REPLICA),
        (500, TOO_LONG, False, Verdict.REPLICA),
    ],
)
def test_only_three_statuses_speak_about_the_question(
    status: int, text: bytes, too_long: bool, verdict: Verdict
) -> None:
    refusal = chat_completions.refusal(status, text)
    assert (refusal.too_long, refusal.verdict) == (too_long, verdict)


def test_what_an_engine_says_is_reported_in_part() -> None:
    assert chat_completions.refusal(400, TOO_LONG).words.startswith(
        "max_tokens=600 cannot be greater"
    )
    assert chat_completions.refusal(500, b'{"error": "none"}').words == ""
    assert (
        len(
            chat_completions.refusal(
                500, json.dumps({"error": {"message": "x" * 600}}).encode()
            ).words
        )
        == 500
    )


def event(content: str | None, finish: str | None = None) -> bytes:
    choice = {"delta": {} if content is None else {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_a_streams_text_comes_in_whatever_pieces() -> None:
    whole = (
        b": keep-alive\n\n" + event("") + event("Once ") + event("upon") + event("", "stop") + DONE
    )
    events, text = Events(1000), ""
    for start in range(0, len(whole), 7):
        text += events.feed(whole[start : start + 7])
    assert text == "Once upon"
    assert events.succeeded()


@pytest.mark.parametrize(
    "blocks",
    [
        [event("Once"), DONE],
        [event("Once"), event(None, "abort"), DONE],
        [event("Once"), b'data: {"error": {"message": "dead"}}\n\n', DONE],
        [event("Once", "stop"), b"data: nonsense\n\n"],
        [],
    ],
)
def test_a_stream_without_a_good_reason_failed(blocks: list[bytes]) -> None:
    events = Events(1000)
    for block in blocks:
        events.feed(block)
    assert not events.succeeded()
    assert events.completion() is UNFINISHED


def test_a_usage_chunk_says_nothing() -> None:
    events = Events(1000)
    usage = b'{"prompt_tokens": 7, "completion_tokens": 3}'
    assert events.feed(event("Hm", "length")) == "Hm"
    assert events.feed(b'data: {"choices": [], "usage": ' + usage + b"}\n\n") == ""
    said = events.completion()
    assert isinstance(said, Completion)
    assert (said.prompt_tokens, said.completion_tokens, said.truncated) == (7, 3, True)


def test_an_empty_view_has_no_worlds() -> None:
    assert View().worlds_of("a/b") == []


def test_an_engine_that_takes_no_more_is_busy_and_not_broken() -> None:
    captured = json.loads((HTTP / "error-queue-full-503.json").read_text())["response"]
    body = json.dumps(captured["json"]).encode()
    busy = chat_completions.refusal(captured["status"], body)
    assert busy.verdict is Verdict.BUSY
    assert chat_completions.refusal(500, body).verdict is Verdict.REPLICA


def test_worlds_without_a_label_of_their_own_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_WORLDS", 1)
    family = player_gauge({"a/a": (1, 2), "b/b": (10, 20), "c/c": (100, 200)}, metrics.Metrics())
    assert {tuple(each.labels.values()): each.value for each in family.samples} == {
        ("a/a", "online"): 1,
        ("a/a", "lobby"): 2,
        ("other", "online"): 110,
        ("other", "lobby"): 220,
    }
    assert len(family.samples) == 4


def test_a_world_that_is_gone_leaves_its_label_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_WORLDS", 1)
    held = metrics.Metrics()
    held.requests[held.world("a/a"), "gold"] += 1
    assert held.world("b/b") == metrics.OTHER
    held.forget(["b/b"], ["gold"])
    assert held.world("b/b") == "b/b"
    assert held.requests == {}


def test_a_namespace_with_many_worlds_leaves_labels_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "MOST_WORLDS", 2)
    held = metrics.Metrics()
    for name in ("flood/a", "flood/b", "flood/c"):
        held.requests[held.world(name), "gold"] += 1
    assert held.world("calm/a") == "calm/a"
    assert held.requests == {("flood/a", "gold"): 1, (metrics.OTHER, "gold"): 1}
    assert held.world("calm/b") == metrics.OTHER


def test_a_tier_that_is_gone_leaves_no_label() -> None:
    held = metrics.Metrics()
    held.answers["a/gold", "ENGINE"] += 1
    held.seconds["a/gold", "ENGINE"].observe(1)
    held.faults["", "INVALID_ARGUMENT"] += 1
    held.requests["a/a", "a/gold"] += 1
    held.forget(["a/a"], [])
    assert (held.answers, held.seconds, held.requests) == ({}, {}, {})
    assert held.faults == {("", "INVALID_ARGUMENT"): 1}


def test_thoughts_cost_no_more_time_however_many_there_are() -> None:
    def seconds(many: int) -> float:
        began = time.perf_counter()
        assert Thoughts().feed("<think></think>" * many) == ""
        return time.perf_counter() - began

    seconds(1000)
    ratios = sorted(seconds(40_000) / seconds(10_000) for _ in range(5))
    assert ratios[2] < 8, "four times as many, and no square of it"


def test_an_event_that_is_too_long_ends_a_stream_though_it_is_whole() -> None:
    choice = {"delta": {"content": "x" * (65 << 10)}, "finish_reason": None}
    events = Events(1000)
    assert events.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n") == ""
    assert events.faulty


def test_an_event_is_counted_by_its_name() -> None:
    held = metrics.Metrics()
    held.count_event("view taken")
    held.count_event("view taken")
    assert held.events == {("view taken",): 2}
