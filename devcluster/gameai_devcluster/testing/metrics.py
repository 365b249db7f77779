"""Metrics of a process in the Prometheus text format."""

import re


def total(text: str, name: str) -> float:
    """The sum of a metric's samples over all labels, or the one sample that is named with its labels; 0.0 if absent."""
    labels = "" if name.endswith("}") else r"(?:\{[^}]*\})?"
    pattern = re.compile(rf"^{re.escape(name)}{labels} (\S+)$", re.MULTILINE)
    return sum(float(value) for value in pattern.findall(text))
