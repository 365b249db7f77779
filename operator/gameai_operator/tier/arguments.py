"""PURE: a user's vLLM arguments, judged before a pod fails on them.

They are resolved by argparse itself, loaded with vLLM's captured flags, so that underscores and lists of values mean here
what they mean there. Abbreviations are refused, since gateways read some flags too. Messages name flags, never values: a value may be a secret.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Never

from gameai_operator.tier.vllm_flags import FLAGS, VLLM_VERSION

REFUSED = "ArgumentRefused"
UNKNOWN = "ArgumentUnknown"
INVALID = "ArgumentInvalid"

_NO_FIELD = "it has no field: "
_TLS = f"{_NO_FIELD}tiers are reachable inside the cluster only, and the gateway terminates TLS"
_NO_SERVER = f"{_NO_FIELD}without the HTTP server vLLM has no health endpoint and no metrics"

# Flag (its first spelling) → what to do instead.
_INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "--model": "use model.source",
        "--served-model-name": f"{_NO_FIELD}it is always the name of the tier",
        "--revision": "use model.source.huggingFace.revision",
        "--hf-token": "use model.source.huggingFace.tokenSecretRef",
        "--quantization": "use model.quantization",
        "--max-model-len": "use model.maxContextTokens",
        "--download-dir": "use model.cache",
        "--tensor-parallel-size": "use hardware.gpus",
        "--host": f"{_NO_FIELD}pods listen on all addresses",
        "--port": f"{_NO_FIELD}the port is always 8000",
        "--uds": f"{_NO_FIELD}a Unix socket cannot be reached from another pod",
        "--root-path": f"{_NO_FIELD}probes and gateway use the root path",
        "--shutdown-timeout": f"{_NO_FIELD}it follows from the class and the grace period of the pod",
        "--max-num-queued-reqs": f"{_NO_FIELD}it follows from the class",
        "--custom-histogram-buckets": f"{_NO_FIELD}they follow from the class",
        "--disable-log-stats": f"{_NO_FIELD}the operator needs the metrics that it disables",
        "--config": f"{_NO_FIELD}set its entries as args, where they can be checked",
        "--api-key": f"{_NO_FIELD}the gateway authenticates callers, and a key in the spec is readable by everyone",
        "--middleware": f"{_NO_FIELD}it would load code into the engine",
        "--trust-remote-code": f"{_NO_FIELD}it would run code from the model repository",
        "--ssl-keyfile": _TLS,
        "--ssl-certfile": _TLS,
        "--ssl-ca-certs": _TLS,
        "--ssl-cert-reqs": _TLS,
        "--ssl-ciphers": _TLS,
        "--enable-ssl-refresh": _TLS,
        "--headless": _NO_SERVER,
        "--grpc": _NO_SERVER,
        "-h": f"{_NO_FIELD}vLLM would print its help and exit",
    }
)
_OPTION = re.compile(r"^--?[A-Za-z]")
_RELEASE = re.compile(r"v?(\d+\.\d+\.\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to be said of a tier's arguments; `applies` is False where the engine is elsewhere and takes none.

    `faults` are reasons and messages where they are not accepted; `checked` says whether the flag list fits the image.
    """

    checked: bool
    version: str
    faults: tuple[tuple[str, str], ...] = ()
    applies: bool = True


@lru_cache(maxsize=256)
def judge(arguments: tuple[str, ...], image: str) -> Verdict:
    """Judge `engine.vllm.args` for the vLLM in `image`, whose tag names the version."""
    version = _version(image)
    checked = version == VLLM_VERSION
    tokens = [_canonical(each) for each in arguments]
    faults = [*_refused(tokens, certain=checked), *_spaced(tokens, certain=checked)]
    faults += [*_unknown_flags(tokens), *_abbreviated(tokens)] if checked else []
    if not faults and checked:
        mistake = _mistaken(tokens)
        faults += [mistake] if mistake else []
    return Verdict(checked=checked, version=version, faults=tuple(dict.fromkeys(faults)))


def _version(image: str) -> str:
    """The vLLM version that an image's tag names; the tag itself, or "untagged", where it names none."""
    tag = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]
    match = _RELEASE.match(tag)
    return match[1] if match else tag or "untagged"


def _refused(tokens: Sequence[str], *, certain: bool) -> Iterator[tuple[str, str]]:
    """Flags that are not for users; where the flag list is another version's, a doubt counts as well."""
    for token in tokens:
        flags = _candidates(_flag(token)) if _OPTION.match(token) else ()
        for flag in flags if len(flags) == 1 or not certain else ():
            if flag in _INSTEAD:
                name = "--help" if flag == "-h" else flag
                yield (
                    REFUSED,
                    f"spec.engine.vllm.args: {name} is not allowed in args: {_INSTEAD[flag]}",
                )
                break


def _flag(token: str) -> str:
    """The flag of a token, without a value that is attached to it or follows after a space."""
    return re.split(r"[=\s]", token, maxsplit=1)[0]


def _spaced(tokens: Sequence[str], *, certain: bool) -> Iterator[tuple[str, str]]:
    """Flags with their value in one item, as a shell would split it; vLLM takes each item as it is."""
    for token in tokens:
        name = _flag(token)
        if not _OPTION.match(token) or not re.match(r"\s", token[len(name) :]):
            continue
        if certain and not _candidates(name):
            continue  # not a flag of this version in any spelling
        if any(name in row[0] and row[1] == 0 for row in FLAGS):
            yield INVALID, f"spec.engine.vllm.args: {name} takes no value: write {name} alone"
        elif not any(flag in _INSTEAD for flag in _candidates(name)):
            message = (
                f"spec.engine.vllm.args: {name} and its value stand in one item, with a space: "
                f"write {name}=VALUE, or two items"
            )
            yield INVALID, message


def _candidates(name: str) -> tuple[str, ...]:
    """The flags, by first spelling, that a name or its prefix can mean."""
    exact = tuple(row[0][0] for row in FLAGS if name in row[0])
    if exact:
        return exact
    # argparse reads `-qawq` as `-q awq`.
    attached = name[:2] if not name.startswith("--") else None
    return tuple(
        row[0][0]
        for row in FLAGS
        if any(spelling.startswith(name) or spelling == attached for spelling in row[0])
    )


def _mistaken(tokens: Sequence[str]) -> tuple[str, str] | None:
    try:
        _, extras = _parser().parse_known_args(list(tokens))
    except _ComplaintError as complaint:
        return INVALID, f"spec.engine.vllm.args: {_without_value(str(complaint))}"
    return _stray(tokens, extras)


def _unknown_flags(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Flags that vLLM does not have, wherever they stand; what follows `--` is not a flag, and vLLM takes no positional arguments."""
    names = [_flag(each) for each in tokens if _OPTION.match(each)]
    return [_no_flag(name) for name in names if not _candidates(name)]


def _abbreviated(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags that vLLM completes, and that gateways, which read batch slots off them, would not know."""
    for name in (_flag(each) for each in tokens if each.startswith("--")):
        found = [each for each in _candidates(name) if each not in _INSTEAD]
        if len(found) == 1 and not any(name in row[0] for row in FLAGS):
            message = f"spec.engine.vllm.args: {name} is an abbreviation: write {found[0]}"
            yield INVALID, message


def _no_flag(flag: str) -> tuple[str, str]:
    near = get_close_matches(flag, [name for row in FLAGS for name in row[0]], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UNKNOWN, f"spec.engine.vllm.args: vLLM {VLLM_VERSION} has no flag {flag}{hint}"


def _stray(tokens: Sequence[str], extras: Sequence[str]) -> tuple[str, str] | None:
    """A value that no flag takes; flags that vLLM does not have were named before."""
    if not extras:
        return None
    before = tokens[: tokens.index(extras[0])]
    flag = _flag(before[-1]) if before and _OPTION.match(before[-1]) else ""
    words = f"{flag} takes no value: remove the next item"
    return (
        UNKNOWN,
        f"spec.engine.vllm.args: {words if flag else 'a value without a flag'}",
    )


class _ComplaintError(Exception):
    """What argparse would have printed before it ended the process."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise _ComplaintError(message)


@cache
def _parser() -> _Parser:
    parser = _Parser(prog="vllm serve", add_help=False, allow_abbrev=True)
    for spellings, values, kind, choices in FLAGS:
        if values == 0:
            parser.add_argument(*spellings, action="store_true")
        else:
            parser.add_argument(
                *spellings,
                nargs=values,
                type=int if kind == "int" else str,
                choices=_typed(kind, choices) or None,
            )
    return parser


def _typed(kind: str, choices: Sequence[str]) -> list[int] | list[str]:
    return [int(each) for each in choices] if kind == "int" else list(choices)


def _canonical(token: str) -> str:
    """A token as vLLM rewrites it: dashes for underscores in a flag, `--json.key=1` for the flag itself."""
    if re.match(r"^-O\S", token):
        return "--optimization-level=" + token[2:].removeprefix("=")
    if not _OPTION.match(token):
        return token
    flag, equals, value = token.partition("=")
    name = flag.partition(".")[0]
    dashed = name.replace("_", "-") if name.startswith("--") else name
    return dashed + equals + value


def _without_value(complaint: str) -> str:
    """`argument --x: invalid int value: 'v'` without the value."""
    named = re.sub(r"( value| choice): .*?( \(choose|$)", r"\1\2", complaint)
    bare = re.sub(r"(explicit argument) .*", r"\1", named)
    return re.sub(r"=\S*", "", bare)
