"""The gateway's small decisions: ring, breaker, estimates, players, the engine's bodies."""

import itertools
import json
import time
from collections import Counter
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
from gameai.gateway.engines.circuit_breaker import (
    MOST_FAILURES,
    OPEN_SECONDS,
    Breaker,
    part,
    warm_slots,
)
from gameai.gateway.engines.hash_ring import BOUND, Ring, place
from gameai.gateway.engines.service_time import LEAST_TOKENS, Estimate, Pace, size_of
from gameai.gateway.routing.snapshot import View
from gameai.gateway.rpc.players import Players, Report
from hypothesis import given
from hypothesis import strategies as st

HTTP = Path(__file__).parents[1] / "data/vllm/http"
UNFINISHED, BLANK = Flaw.UNFINISHED, Flaw.BLANK
TOO_LONG = b'{"error": {"message": "max_tokens=600 cannot be greater than max_model_len=512."}}'
ADDRESSES = [f"10.0.0.{n}:8000" for n in range(5)]


def test_the_same_prefix_goes_to_the_same_replica() -> None:
    ring = Ring(ADDRESSES)
    picked = {ring.pick(place("guard"), lambda _: 0.0, lambda _: True) for _ in range(10)}
    assert len(picked) == 1


def test_a_replica_that_leaves_moves_only_its_own_prefixes() -> None:
    before, after = Ring(ADDRESSES), Ring(ADDRESSES[:-1])
    moved = 0
    for n in range(500):
        was = before.pick(place(str(n)), lambda _: 0.0, lambda _: True)
        now = after.pick(place(str(n)), lambda _: 0.0, lambda _: True)
        moved += was != now
        assert was == ADDRESSES[-1] or was == now
    assert 50 <= moved <= 150


def test_prefixes_are_spread_over_replicas() -> None:
    ring = Ring(ADDRESSES)
    metrics = Counter(ring.pick(place(str(n)), lambda _: 0.0, lambda _: True) for n in range(1000))
    assert min(metrics.values()) > 120


def test_no_replica_is_given_more_than_the_bound() -> None:
    ring = Ring(ADDRESSES)
    load = dict.fromkeys(ADDRESSES, 0.0)
    for _ in range(500):
        picked = ring.pick(place("hot"), load.__getitem__, lambda _: True)
        assert picked is not None
        load[picked] += 1
    assert max(load.values()) <= BOUND * 100 + 1


def test_while_there_is_room_everywhere_a_prefix_stays_where_it_is_known() -> None:
    ring = Ring(ADDRESSES)
    load = dict.fromkeys(ADDRESSES, 0.0)
    picked = []
    for _ in range(8):
        found = ring.pick(place("hot"), load.__getitem__, lambda _: True)
        assert found is not None
        # One of sixteen slots.
        load[found] += 1 / 16
        picked.append(found)
    assert len(set(picked[:5])) == 1
    assert len(set(picked)) > 1, "a quarter of the slots is the most"


def test_where_the_ring_has_no_room_the_least_loaded_is_picked() -> None:
    ring = Ring(ADDRESSES)
    load = {each: 10.0 - n for n, each in enumerate(ADDRESSES)}
    # Only the two fullest have room, and they are above the bound of an otherwise empty tier.
    free = ADDRESSES[:2]
    heavy = {each: (9.0 if each in free else 0.0) for each in ADDRESSES}
    heavy[ADDRESSES[1]] = 8.0
    assert load
    assert ring.pick(0, heavy.__getitem__, lambda each: each in free) == ADDRESSES[1]
    assert ring.pick(0, heavy.__getitem__, lambda _: False) is None


def test_one_replica_needs_no_ring() -> None:
    ring = Ring(ADDRESSES[:1])
    assert ring.pick(0, lambda _: 99.0, lambda _: True) == ADDRESSES[0]
    assert ring.pick(0, lambda _: 0.0, lambda _: False) is None


def test_an_empty_ring_picks_nothing() -> None:
    assert Ring(()).pick(0, lambda _: 0.0, lambda _: True) is None


def test_failures_in_a_row_open_a_breaker_and_good_health_closes_it() -> None:
    breaker = Breaker()
    for _ in range(MOST_FAILURES - 1):
        breaker.failed(10.0)
    assert breaker.allows(10.0)
    breaker.failed(10.0)
    assert not breaker.allows(10.0 + OPEN_SECONDS)
    assert not breaker.due(10.0 + OPEN_SECONDS - 0.1)
    assert breaker.due(10.0 + OPEN_SECONDS)
    assert breaker.lives()
    assert breaker.allows(0.0)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(3 * MOST_FAILURES):
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows(0.0)


def test_one_whose_health_is_well_opens_again_at_its_first_failure() -> None:
    breaker = Breaker()
    breaker.condemned(0.0)
    assert breaker.lives()
    breaker.failed(OPEN_SECONDS)
    assert not breaker.allows(OPEN_SECONDS + 1)
    # The health of a closed one says nothing of its failures.
    other = Breaker(failures=3)
    assert not other.lives()
    assert other.failures == 3


def test_a_busy_one_pauses_longer_each_time_and_an_answer_ends_that() -> None:
    breaker = Breaker()
    pauses = []
    for _ in range(9):
        breaker.busy(100.0)
        pauses.append(round(breaker.paused_until - 100.0, 3))
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]
    assert not breaker.allows(100.9)
    assert breaker.allows(101.0)
    breaker.succeeded()
    assert breaker.allows(100.0)


@pytest.mark.parametrize(("age", "slots"), [(0, 1), (1, 6), (5, 32), (10, 64), (99, 64)])
def test_a_new_replica_gets_its_slots_by_and_by(age: float, slots: int) -> None:
    assert warm_slots(64, age) == slots


@pytest.mark.parametrize(
    ("slots", "gateways", "each"),
    [(64, 1, 64), (64, 6, 11), (6, 6, 1), (12, 3, 4), (7, 6, 2), (16, 100, 1), (0, 1, 1)],
)
def test_gateways_share_a_replicas_slots(slots: int, gateways: int, each: int) -> None:
    assert part(slots, gateways) == each


def test_what_is_not_known_is_tried() -> None:
    estimate = Estimate()
    assert estimate.mean(1, 0.0) == estimate.high(1, 0.0) == 0.0


def test_an_estimate_follows_what_is_seen_and_sizes_are_apart() -> None:
    estimate = Estimate()
    for step in range(200):
        estimate.observe(size_of(1, 100), 0.010 if step % 2 else 0.014, step / 100)
        estimate.observe(size_of(64, 100), 0.3, step / 100)
    assert estimate.mean(size_of(1, 500), 2.0) == pytest.approx(0.012, rel=0.1)
    assert 0.012 < estimate.high(size_of(1, 0), 2.0) < 0.02
    assert estimate.mean(size_of(100, 100), 2.0) == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(
    ("budget", "needed"),
    [
        # There is time enough for all but the slowest.
        (1.0, 0.018),
        # The slowest of twenty would never be tried: then the mean counts, or three quarters of what there is.
        (0.016, 0.012),
        (0.020, 0.015),
    ],
)
def test_a_slot_is_given_to_what_can_be_ready_in_time(budget: float, needed: float) -> None:
    estimate = Estimate()
    for step in range(400):
        estimate.observe(1, 0.009 if step % 2 else 0.015, step / 1000)
    assert estimate.high(1, 0.4) == pytest.approx(0.018, rel=0.05)
    assert estimate.needed(1, budget, 0.4) == pytest.approx(needed, rel=0.05)


def test_what_was_slow_once_is_tried_again_after_a_while() -> None:
    estimate = Estimate()
    estimate.observe(1, 10.0, 0.0)
    assert estimate.mean(1, 0.5) == 10.0
    assert estimate.mean(1, 61.0) < 0.01
    assert estimate.high(1, 61.0) < 0.02


def test_a_free_answer_is_as_long_as_the_engine_can_write_in_time() -> None:
    pace = Pace()
    assert pace.fitting(64, 100, 0.25) == 64, "nothing is known yet"
    pace.missed(64, 100, 0.25)
    assert pace.fitting(64, 100, 0.25) == 48, "it needs more than 3.9 ms a token"
    pace.missed(64, 100, 0.1)
    assert pace.fitting(64, 100, 0.25) == 48, "it was given less time than it needs"
    assert pace.fitting(64, 100, 10.0) == 64
    assert pace.fitting(64, 100, -1.0) == LEAST_TOKENS
    assert pace.fitting(LEAST_TOKENS, 100, 0.0) == LEAST_TOKENS
    for _ in range(200):
        pace.wrote(40, 100, 0.04)
    assert pace.fitting(64, 100, 0.06) == 44


def test_an_engine_that_was_slow_once_writes_long_answers_again() -> None:
    pace = Pace()
    for _ in range(50):
        pace.wrote(64, 100, 64 * 0.06)
    short = pace.fitting(64, 100, 1.0)
    assert short < 16
    for _ in range(150):
        pace.wrote(pace.fitting(64, 100, 1.0), 100, pace.fitting(64, 100, 1.0) * 0.003)
    assert pace.fitting(64, 100, 1.0) == 64


def test_one_who_sends_long_prompts_or_gives_up_soon_shortens_no_ones_answers() -> None:
    pace = Pace()
    pace.wrote(40, 100, 0.4)
    for _ in range(100):
        pace.missed(64, 64_000, 60.0)
        pace.missed(8, 100, 60.0)
        pace.wrote(1, 100, 60.0)
    assert pace.fitting(64, 100, 1.0) == 64
    # One miss moves a pace as much as one answer.
    pace.missed(64, 100, 64.0)
    assert pace.fitting(64, 100, 1.0) > 10


def test_long_prompts_of_one_make_no_short_ones_of_others_late() -> None:
    estimate = Estimate()
    for step in range(100):
        estimate.observe(size_of(1, 65_000), 2.0, step / 100)
        estimate.observe(size_of(1, 900), 0.02, step / 100)
    assert estimate.mean(size_of(1, 200), 1.0) == pytest.approx(0.02)
    assert estimate.mean(size_of(1, 40_000), 1.0) == pytest.approx(2.0)


def test_players_of_an_instance_are_counted_once_whatever_stream_reports_them() -> None:
    players = Players()
    players.report("a/b", 1, Report(40, 2, 0.0, "x", 1))
    players.report("a/b", 2, Report(41, 2, 1.0, "x", 2))
    assert players.worlds(1.0) == {"a/b": (41, 2)}
    # What was sent before, and came after.
    players.report("a/b", 1, Report(0, 0, 2.0, "x", 1))
    assert players.worlds(2.0) == {"a/b": (41, 2)}
    players.ended(1)
    assert players.worlds(2.0) == {"a/b": (41, 2)}
    players.report("a/b", 3, Report(5, 0, 2.0, "y", 1))
    assert players.worlds(2.0) == {"a/b": (46, 2)}


def test_a_report_counts_no_more_players_than_a_game_server_has() -> None:
    players = Players()
    players.report("a/b", 1, Report(4_000_000_000, 1 << 31, 0.0))
    assert players.worlds(0.0) == {"a/b": (100_000, 100_000)}


def test_players_are_the_sum_of_fresh_reports() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    players.report("a/b", 1, Report(12, 2, at=5.0))
    players.report("a/b", 2, Report(30, 0, at=5.0))
    assert players.worlds(6.0) == {"a/b": (42, 2)}


def test_an_old_report_is_stale_and_not_zero() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    assert players.worlds(60.0) == {"a/b": (10, 1)}
    assert players.worlds(60.1) == {}


def test_a_stream_that_ended_reports_no_players() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    players.report("a/b", 2, Report(1, 0, at=0.0))
    players.report("c/d", 1, Report(5, 0, at=0.0))
    players.ended(1)
    assert players.worlds(0.0) == {"a/b": (1, 0)}


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
    told = "".join(parts.feed(text[a:b]) for a, b in itertools.pairwise(places)) + parts.rest()
    assert told == expected
    assert "<think>" not in told


def test_a_stream_of_thoughts_and_blanks_is_blank() -> None:
    events = Events(1000)
    told = [events.feed(event(each)) for each in ("  ", "<th", "ink>h", "m</think>", " \n", "")]
    events.feed(event(None, "stop"))
    assert "".join(told) + events.end() == ""
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
    told = player_gauge({"a/a": (1, 2), "b/b": (10, 20), "c/c": (100, 200)}, metrics.Metrics())
    assert {tuple(each.labels.values()): each.value for each in told.samples} == {
        ("a/a", "online"): 1,
        ("a/a", "lobby"): 2,
        ("other", "online"): 110,
        ("other", "lobby"): 220,
    }
    assert len(told.samples) == 4


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
