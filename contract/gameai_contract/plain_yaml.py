"""PURE: YAML as plain data: no aliases, no key twice, no numbers to the base of sixty; with the line of each part."""

from collections.abc import Iterator
from typing import Any

import yaml

# What PyYAML raises for texts that it cannot take: a number without digits, an invalid character.
_UNREADABLE = (
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
    RecursionError,
)


class YamlError(ValueError):
    """A text is no plain YAML; `line` is 0 where it is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text; None of an empty one. Raises `YamlError`."""
    try:
        node: yaml.Node | None = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(str(error.problem), line) from error
    except _UNREADABLE as error:
        raise YamlError(f"no YAML: {type(error).__name__}") from error
    return node


def construct(node: yaml.Node) -> Any:
    """The data of nodes. Raises `YamlError`."""
    try:
        return _Loader("").construct_document(node)
    except _UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        words = str(getattr(error, "problem", None) or error)[:200]
        raise YamlError(words, mark.line + 1 if mark else 1) from error


def line_of(root: yaml.Node, place: tuple[int | str, ...]) -> int:
    """The line of the deepest part of a place that the document has."""
    node, mark = root, root.start_mark
    for part in place:
        following = next(_children(node, part), None)
        if following is None:
            break
        mark, node = following
    return int(mark.line) + 1


def _children(node: yaml.Node, part: int | str) -> Iterator[tuple[yaml.Mark, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((key.start_mark, value) for key, value in node.value if key.value == part)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((each.start_mark, each) for at, each in enumerate(node.value) if at == part)


class _Loader(yaml.SafeLoader):
    """Plain data only: no anchors, no key twice, no numbers to the base of sixty."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """A whole number."""
        _check_number(node)
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """A number."""
        _check_number(node)
        return super().construct_yaml_float(node)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML's types are unfinished
            raise yaml.MarkedYAMLError(
                problem="aliases are not read", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        assert node is not None  # noqa: S101 - PyYAML's types are wider than what it does
        return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _check_number(node: yaml.ScalarNode) -> None:
    """`1:30` is a number to YAML 1.1, read in a time that grows with the square of its length."""
    if ":" in node.value:
        raise yaml.MarkedYAMLError(
            problem=f"{node.value[:32]} is neither a number nor a text: quote it",
            problem_mark=node.start_mark,
        )


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
        if key.value in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
            )
        seen.add(key.value)
