"""What an agent decides: whether its engine is quiet, what is measured next, and what a measurement amounts to."""

import itertools
import math
from pathlib import Path

import pytest
from gameai.tier_agent import gpu, questions
from gameai.tier_agent.draining import Quiet
from gameai.tier_agent.load import Load, load
from gameai.tier_agent.measurement import (
    Capacity,
    Step,
    bounded,
    capacity,
    next_concurrency,
    p95,
    step_seconds,
)
from gameai_contract.inference import LatencyClass
from gameai_contract.tier_agent import MOST_TARGET_MS

PAGE = (Path(__file__).parents[2] / "simulators/gameai_vllm/metrics.txt").read_text()


def a_load(running: float = 0, waiting: float = 0, tokens: float = 100) -> Load:
    return Load(running=running, waiting=waiting, tokens=tokens)


def step(concurrency: int, p95_ms: float, requests: int = 0) -> Step:
    return Step(
        concurrency=concurrency, requests=requests or 100 * concurrency, seconds=2.0, p95_ms=p95_ms
    )


def test_the_load_is_read_from_a_page_that_a_real_vllm_served() -> None:
    found = load(PAGE.encode())
    assert (found.running, found.waiting) == (0, 0)
    assert found.idle
    busy = PAGE.replace(
        'vllm:num_requests_running{engine="0",model_name="npc-gold"} 0.0',
        'vllm:num_requests_running{engine="0",model_name="npc-gold"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="npc-gold"} 2.0',
    )
    assert load(busy.encode()).running == 5


@pytest.mark.parametrize(
    "page",
    [
        "",
        "vllm:num_requests_running{} 1",
        "vllm:num_requests_running{} NaN\nvllm:num_requests_waiting{} 0",
        "vllm:num_requests_running{} -1\nvllm:num_requests_waiting{} 0",
        "vllm:num_requests_running{} many\nvllm:num_requests_waiting{} 0",
    ],
)
def test_a_page_without_the_gauges_is_no_load(page: str) -> None:
    with pytest.raises(ValueError, match=r"gauges|is |convert"):
        load(page.encode())


def test_two_idle_seconds_are_quiet() -> None:
    quiet = Quiet(LatencyClass.GOLD)
    assert [quiet.observe(a_load(), at) for at in (0, 1, 1.9, 2)] == [False, False, False, True]


def test_a_request_in_between_begins_the_wait_again() -> None:
    quiet = Quiet(LatencyClass.GOLD)
    seen = [(0, a_load()), (1.5, a_load(running=1, tokens=101)), (2, a_load(tokens=102))]
    assert [quiet.observe(each, at) for at, each in seen] == [False, False, False]
    assert [quiet.observe(a_load(tokens=102), at) for at in (3.9, 4)] == [False, True]


def test_a_gauge_that_an_aborted_request_left_behind_does_not_hold_a_drain() -> None:
    quiet = Quiet(LatencyClass.GOLD)
    stuck = a_load(running=1, tokens=100)
    assert [quiet.observe(stuck, at) for at in (0, 2, 4.9, 5)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("class_", "waiting", "seconds"),
    [(LatencyClass.GOLD, 0, 5), (LatencyClass.SILVER, 0, 30), (LatencyClass.GOLD, 1, None)],
)
def test_a_long_prompt_or_a_queue_holds_a_drain_though_no_token_is_counted(
    class_: LatencyClass, waiting: int, seconds: int | None
) -> None:
    quiet, load = Quiet(class_), a_load(running=1, waiting=waiting)
    assert next((at for at in range(100) if quiet.observe(load, at)), None) == seconds


def test_a_request_that_is_computed_holds_a_drain() -> None:
    quiet = Quiet(LatencyClass.GOLD)
    assert not any(quiet.observe(a_load(running=1, tokens=at), at) for at in range(60))


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([], 1),
        ([step(1, 10)], 2),
        ([step(1, 10), step(2, 12), step(4, 15)], 8),
        # Above the target: between the last good and the first bad.
        ([step(1, 10), step(2, 12), step(4, 30)], 3),
        ([step(1, 10), step(2, 12), step(4, 14), step(8, 30)], 6),
        ([step(8, 10), step(16, 30), step(12, 12)], 14),
        ([step(8, 10), step(16, 30), step(12, 12), step(14, 30)], None),
        # One request alone is too slow.
        ([step(1, 30)], None),
        # All slots are taken, or the next number of them.
        ([step(1, 10), step(20, 12)], 24),
        ([step(1, 10), step(24, 12)], None),
        # Twice as many at a time served no more.
        ([step(4, 10, 400), step(8, 14, 410)], None),
    ],
)
def test_the_search_doubles_then_halves(steps: list[Step], wanted: int | None) -> None:
    assert next_concurrency(steps, 16, 24) == wanted


def test_a_search_ends_whatever_an_engine_does() -> None:
    for limit in (0, 1, 3, 17, 64, 1000):
        steps: list[Step] = []
        while (concurrency := next_concurrency(steps, 16, 128)) is not None:
            assert concurrency <= 128
            steps.append(step(concurrency, 10 if concurrency <= limit else 20))
            assert len(steps) < 20
        found = capacity(steps, 16)
        assert found is not None
        assert found.concurrency <= max(1, limit)
        assert found.concurrency >= min(limit, 128) / 1.25


def test_the_step_within_the_target_that_served_most_counts() -> None:
    steps = [step(1, 10), step(2, 12, 500), step(4, 15, 480), step(8, 30, 9000)]
    assert capacity(steps, 16) == Capacity(
        target_ms=16, requests_per_second=250, concurrency=2, idle_p95_ms=10
    )


def test_an_engine_that_misses_the_target_alone_is_measured_all_the_same() -> None:
    assert capacity([step(1, 40)], 16) == Capacity(
        target_ms=16, requests_per_second=50, concurrency=1, idle_p95_ms=40
    )


def test_nothing_served_is_no_capacity() -> None:
    nothing = Step(concurrency=1, requests=0, seconds=2, p95_ms=math.inf)
    assert capacity([nothing], 16) is None


def test_p95_is_the_nearest_rank() -> None:
    assert p95([float(each) for each in range(1, 101)]) == 95
    assert p95([7.0]) == 7
    assert p95([]) == math.inf


def test_steps_are_long_for_slow_targets_within_bounds() -> None:
    assert [step_seconds(each) for each in (16, 250, 1000)] == [2, 3, 3.5]


def test_the_steps_of_a_slow_tier_grow_faster() -> None:
    assert next_concurrency([step(1, 400)], 500, 256) == 4
    assert next_concurrency([step(1, 400), step(4, 450)], 500, 12) == 12


def test_a_search_fits_into_a_minute() -> None:
    """Also with the slowest target, where each step takes one answer longer than it should."""
    for target_ms in (16, 250, 499, 500, MOST_TARGET_MS):
        for limit in (1, 7, 31, 100, 256):
            steps: list[Step] = []
            while (concurrency := next_concurrency(steps, target_ms, 256)) is not None:
                late = 1.0 if concurrency <= limit else 1.5
                steps.append(step(concurrency, late * target_ms))
            seconds = len(steps) * (step_seconds(target_ms) + 1.5 * target_ms / 1000 + 0.3)
            assert seconds + 7 <= 60, (target_ms, limit, len(steps), seconds)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], False),
        ([step(1, 10), step(2, 12)], False),
        ([step(1, 30)], False),
        ([step(1, 10), step(2, 30)], True),
    ],
)
def test_a_search_that_was_cut_says_something_once_it_has_found_a_limit(
    steps: list[Step], expected: bool
) -> None:
    assert bounded(steps, 16) is expected


def test_three_questions_warm_up_three_grammars_at_gold_and_words_elsewhere() -> None:
    asked = questions.warm_up("gold", LatencyClass.GOLD)
    assert [len(each["structured_outputs"]["choice"]) for each in asked] == [2, 8, 26]
    assert {each["model"] for each in asked} == {"gold"}
    words = questions.warm_up("silver", LatencyClass.SILVER)
    assert [each["max_tokens"] for each in words] == [8, 8, 8]
    assert not any("structured_outputs" in each for each in words)


@pytest.mark.parametrize("class_", list(LatencyClass))
def test_no_two_measuring_questions_are_alike_and_all_begin_alike(class_: LatencyClass) -> None:
    asked = list(itertools.islice(questions.measuring("gold", class_), 50))
    assert len({each["messages"][1]["content"] for each in asked}) == 50
    assert len({each["messages"][0]["content"] for each in asked}) == 1
    assert {each["max_tokens"] for each in asked} == {1 if class_ is LatencyClass.GOLD else 64}


def test_the_gpu_is_what_the_driver_says(tmp_path: Path) -> None:
    assert gpu.product(tmp_path / "absent") == "unknown"
    for name, model in (("0000:00:1e.0", "NVIDIA A10G"), ("0000:00:1f.0", "NVIDIA A10G")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "information").write_text(
            f"Model: \t\t {model}\nIRQ:   \t\t 10\nGPU UUID: \t GPU-1\n"
        )
    assert gpu.product(tmp_path) == "NVIDIA A10G"
    (tmp_path / "0000:00:1f.0" / "information").write_text("Model: NVIDIA L4\n")
    assert gpu.product(tmp_path) == "NVIDIA A10G+NVIDIA L4"
    (tmp_path / "0000:00:1e.0" / "information").write_text("")
    (tmp_path / "0000:00:1f.0" / "information").write_text("")
    assert gpu.product(tmp_path) == "unknown"
