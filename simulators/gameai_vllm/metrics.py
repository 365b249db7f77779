"""/metrics of the double: the text of an idle vLLM with simulated values."""

import bisect
import re
import time
from collections import Counter
from importlib.resources import files

from prometheus_client import generate_latest

from gameai_vllm.engine import Engine, Times

_CAPTURED_MODEL = "npc-gold"
_LINE = re.compile(r"(?P<name>[^{ ]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_EDGE = re.compile(r'le="([^"]+)"')


class Histogram:
    """Counts by bucket; the buckets are the captured ones."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self.total = 0.0
        self.count = 0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._edges, value)] += 1
        self.total += value
        self.count += 1

    def below(self, edge: float) -> int:
        """How many were at most so much."""
        return sum(self._counts[: bisect.bisect_left(self._edges, edge) + 1])


class Metrics:
    """Everything that happened, as counters."""

    def __init__(self, engine: Engine, model: str) -> None:
        template = files("gameai_vllm").joinpath("metrics.txt").read_text()
        self._engine = engine
        self._template = template.replace(f'"{_CAPTURED_MODEL}"', f'"{model}"').splitlines()
        self._model = model
        self._started = time.time()
        self.finished: Counter[str] = Counter()
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.prompt_tokens = 0
        self.generated = 0
        self.histograms = {name: Histogram(edges) for name, edges in _edges(self._template).items()}

    def finish(self, reason: str, prompt_tokens: int, times: Times) -> None:
        """A request ended by itself. One that its client left is counted nowhere, as in vLLM."""
        self.finished[reason] += 1
        self.prompt_tokens += prompt_tokens
        self.generated += times.tokens
        seen = {
            "e2e_request_latency_seconds": times.last - times.arrived,
            "request_queue_time_seconds": times.started - times.arrived,
            "request_inference_time_seconds": times.last - times.started,
            "request_prefill_time_seconds": times.first - times.started,
            "request_decode_time_seconds": times.last - times.first,
            "time_to_first_token_seconds": times.first - times.arrived,
            "request_prompt_tokens": float(prompt_tokens),
            "request_generation_tokens": float(times.tokens),
        }
        for name, value in seen.items():
            self.histograms[f"vllm:{name}"].observe(value)
        gaps = times.tokens - 1
        for _ in range(gaps):
            gap = (times.last - times.first) / gaps
            self.histograms["vllm:inter_token_latency_seconds"].observe(gap)
        if gaps > 0:
            each = (times.last - times.first) / gaps
            self.histograms["vllm:request_time_per_output_token_seconds"].observe(each)

    def text(self) -> bytes:
        """The whole page."""
        values = self._values()
        lines = [self._line(line, values) for line in self._template]
        requests = [
            f'http_requests_total{{handler="{handler}",method="{method}",status="{status}"}} {float(count)}'
            for (handler, method, status), count in sorted(self.requests.items())
        ]
        head = [
            "# HELP http_requests_total Total number of requests by method, status and handler.",
            "# TYPE http_requests_total counter",
        ]
        return generate_latest() + ("\n".join([*lines, *head, *requests]) + "\n").encode()

    def _values(self) -> dict[str, float]:
        engine = self._engine
        label = f'engine="0",model_name="{self._model}"'
        rejected = f'vllm:admission_rejections_total{{model_name="{self._model}",reason='
        finished = 'vllm:request_success_total{engine="0",finished_reason="'
        reasons = {
            f'{finished}{reason}",model_name="{self._model}"}}': float(count)
            for reason, count in self.finished.items()
        }
        return reasons | {
            f"vllm:num_requests_running{{{label}}}": float(engine.running),
            f"vllm:num_requests_waiting{{{label}}}": float(engine.waiting),
            f'vllm:num_requests_waiting_by_reason{{{label},reason="capacity"}}': float(
                engine.waiting
            ),
            f"vllm:kv_cache_usage_perc{{{label}}}": min(1.0, engine.running / 1024),
            f"vllm:prompt_tokens_total{{{label}}}": float(self.prompt_tokens),
            f"vllm:generation_tokens_total{{{label}}}": float(self.generated),
            f'{rejected}"max_num_queued_reqs"}}': float(engine.rejected),
        }

    def _line(self, line: str, values: dict[str, float]) -> str:
        found = _LINE.match(line)
        if line.startswith("#") or found is None:
            return line
        series = line[: found.start("value") - 1]
        name = found["name"]
        if name.endswith("_created"):
            return f"{series} {self._started}"
        base, _, part = name.rpartition("_")
        histogram = self.histograms.get(base)
        if histogram is None:
            return f"{series} {values[series]}" if series in values else line
        if part == "bucket":
            edge = _EDGE.search(line)
            return f"{series} {float(histogram.below(float(edge[1] if edge else 'inf')))}"
        return f"{series} {histogram.total if part == 'sum' else float(histogram.count)}"


def _edges(lines: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {}
    for line in lines:
        edge = _EDGE.search(line)
        if edge and edge[1] != "+Inf" and not line.startswith("#"):
            found.setdefault(line.partition("_bucket{")[0], []).append(float(edge[1]))
    return {name: tuple(edges) for name, edges in found.items()}
