"""PURE: whether a value fits the declaration of its key."""

import json
import math
from typing import Any

from gameai.settings.v1 import settings_pb2 as pb

MAX_BYTES, DEFAULT_BYTES = 8192, 1024
_MOST_SHOWN = 40
_SHOWN_CHOICES = 10


class _ConstantError(ValueError):
    """NaN and Infinity, which Python takes and RFC 8259 does not."""


def kind(value: pb.Value) -> str:
    """The type of a value; "" where it has none."""
    return value.WhichOneof("kind") or ""


def shown(value: pb.Value) -> str:
    """A value in a message."""
    match kind(value):
        case "text":
            return repr(value.text[:_MOST_SHOWN])
        case "json":
            return value.json[:_MOST_SHOWN].decode(errors="replace")
        case "flag":
            return str(value.flag).lower()
        case name:
            return str(getattr(value, name)) if name else "nothing"


def fault(value: pb.Value, declared: pb.Declaration) -> str | None:
    """What is wrong with a value, as the end of a sentence; None if nothing is."""
    wanted, given = kind(declared.default), kind(value)
    if given != wanted:
        return f"must have the type {wanted}, not {given or 'none'}"
    match wanted:
        case "whole" | "number":
            return _number_fault(value, declared, wanted)
        case "text":
            return _text_fault(value.text, declared)
        case "json":
            return _json_fault(value.json, declared)
        case _:
            return None


def _number_fault(value: pb.Value, declared: pb.Declaration, name: str) -> str | None:
    given = getattr(value, name)
    if not math.isfinite(given):
        return "must be a finite number"
    least, most = (
        getattr(bound, name) if kind(bound) else None
        for bound in (declared.minimum, declared.maximum)
    )
    if least is not None and given < least:
        return f"must be at least {least}, not {given}"
    if most is not None and given > most:
        return f"must be at most {most}, not {given}"
    return None


def _text_fault(value: str, declared: pb.Declaration) -> str | None:
    if declared.choices and value not in declared.choices:
        first, more = declared.choices[:_SHOWN_CHOICES], len(declared.choices) - _SHOWN_CHOICES
        rest = f" or {more} others" if more > 0 else ""
        return f"must be one of {', '.join(first)}{rest}, not {value[:_MOST_SHOWN]!r}"
    return _size_fault(len(value.encode()), declared)


def _json_fault(value: bytes, declared: pb.Declaration) -> str | None:
    too_large = _size_fault(len(value), declared)
    if too_large is not None:
        return too_large
    try:
        json.loads(value.decode(), parse_int=str, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        return f"must be a JSON text: {error}"
    return None


def _size_fault(size: int, declared: pb.Declaration) -> str | None:
    most = declared.max_bytes or DEFAULT_BYTES
    return f"must have at most {most} bytes, not {size}" if size > most else None


def _refused(name: str) -> Any:
    raise _ConstantError(f"{name} is not JSON")
