"""The ports that a process has opened, in a file for the program that started it with port 0."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_ports(file: Path, ports: Mapping[str, int]) -> None:
    """Write ports by name as one JSON object; a reader sees all of it or no file. Raises OSError."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(ports))
    part.replace(file)
