"""EDGE: the product name of the node's GPUs, as the NVIDIA driver shows it to every process."""

from pathlib import Path

_FOLDER = Path("/proc/driver/nvidia/gpus")
UNKNOWN = "unknown"
_MOST_CHARACTERS = 63


def product(folder: Path = _FOLDER) -> str:
    """For example "NVIDIA A10G"; "unknown" where the driver shows none. Differing products are joined by "+"."""
    try:
        names = {_model(file.read_text()) for file in sorted(folder.glob("*/information"))}
    except OSError:
        return UNKNOWN
    return "+".join(sorted(names - {""}))[:_MOST_CHARACTERS] or UNKNOWN


def _model(text: str) -> str:
    rows = dict(line.partition(":")[::2] for line in text.splitlines())
    return rows.get("Model", "").strip()
