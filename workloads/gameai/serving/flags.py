"""EDGE: flags that all processes have, and what they take."""

import argparse
import os

_MOST_PORT = 65535
_MOST_SECONDS = 3600
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def port(text: str) -> int:
    """The number of a port; 0 stands for a free one. For `type` of a flag, whose error it raises."""
    if text in map(str, range(_MOST_PORT + 1)):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: it must be from 0 to {_MOST_PORT}")


def seconds(text: str) -> float:
    """A time from 0 to an hour, in seconds. For `type` of a flag, whose error it raises."""
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be from 0 to {_MOST_SECONDS} seconds")
    return found


def add_log_level(parser: argparse.ArgumentParser) -> None:
    """`--log-level`, or the variable LOG_LEVEL."""
    parser.add_argument(
        "--log-level",
        default=os.environ.get("LOG_LEVEL", "INFO"),
        type=_level,
        metavar="LEVEL",
        help=f"{', '.join(_LEVELS[:-1])} or {_LEVELS[-1]} (default: LOG_LEVEL, else INFO)",
    )


def _level(text: str) -> str:
    if text.upper() in _LEVELS:
        return text.upper()
    raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(_LEVELS)}")
