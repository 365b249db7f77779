"""Metrics and logs of every gRPC service."""

import json
import logging
import sys
import time

from prometheus_client import Counter, Gauge, Histogram

# A game server's frame is 16 ms; a weather request may take a few of them, and a language model a minute.
_FRAMES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0)
_BUCKETS = (*_FRAMES, 2.5, 5.0, 10.0, 30.0, 60.0)

REQUESTS = Counter(
    "gameai_service_requests_total", "Calls by method and status code.", ["method", "code"]
)
SECONDS = Histogram(
    "gameai_service_request_seconds", "Seconds of unary calls.", ["method"], buckets=_BUCKETS
)
STREAMS = Gauge("gameai_service_streams", "Streams that are open.", ["method"])
RELOADS = Counter("gameai_service_config_reloads_total", "New configurations.", ["result"])


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure_logging(level: str) -> None:
    """JSON lines on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logging.basicConfig(level=level, handlers=[handler], force=True)
