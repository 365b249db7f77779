"""CUDA builds that cannot be loaded beside a torch that runs on CPUs are not seen: without them vLLM does its work."""

import importlib.abc
import importlib.util
import sys
from typing import Any

_HIDDEN = {"torchvision", "torchaudio", "torchcodec"}
_find = importlib.util.find_spec


class _Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002 - the protocol's
        if fullname.split(".", maxsplit=1)[0] in _HIDDEN:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _seen(name: str, package: str | None = None) -> Any:
    return None if name.split(".", maxsplit=1)[0] in _HIDDEN else _find(name, package)


importlib.util.find_spec = _seen
sys.meta_path.insert(0, _Hidden())
