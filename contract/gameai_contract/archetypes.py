"""PURE: the archetype document: what kinds of NPC there are, what they answer by default, what may be cached."""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from gameai_contract.plain_yaml import YamlError, compose, construct, line_of

# One label letter each, for an engine answers in one token.
MOST_ACTIONS = 26
# Users write the documents, and the message about their faults is kept in memory.
_MOST_FAULTS, _MOST_MESSAGE = 8, 2048
MOST_DOCUMENT_BYTES = 128 << 10
MOST_ARCHETYPES = 500
MOST_NUMBER = 1_000_000_000_000
# More digits than a number of a game has, so that no quotient is rounded up.
_EXACT = Context(prec=50)
SUFFIXES = (".yaml", ".yml", ".json")

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=2000)]
Action = Annotated[str, Field(min_length=1, max_length=128)]
Amount = Annotated[Decimal, Field(allow_inf_nan=False, ge=-MOST_NUMBER, le=MOST_NUMBER)]


class _Part(BaseModel):
    """Frozen, camelCase, and nothing unknown passes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Quantiser(_Part):
    """How a value of the world's state becomes part of a cache key; as it is, unless a rule is given."""

    step: Amount | None = Field(
        None, description="Numbers are rounded down to a multiple of this. Example: 10.", gt=0
    )
    bounds: Annotated[list[Amount], Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="Numbers fall into the ranges between these, in rising order. Example: [6, 12, 20].",
    )
    values: Annotated[list[Sentence], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Only these texts are distinguished; every other text counts as 'other'."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(rule is not None for rule in (self.step, self.bounds, self.values)) > 1:
            raise ValueError("give one of step, bounds and values")
        if self.bounds is not None and self.bounds != sorted(set(self.bounds)):
            raise ValueError("bounds must rise")
        return self

    def quantisation(self) -> "Quantisation":
        """The rule alone, without what a model keeps beside it."""
        if self.step is None and self.bounds is None and self.values is None:
            return AS_IT_IS
        return Quantisation(
            step=self.step,
            bounds=None if self.bounds is None else tuple(self.bounds),
            values=None if self.values is None else tuple(self.values),
        )


class Quantisation(NamedTuple):
    """A `Quantiser` as it is kept and used: at most one of the three; compact."""

    step: Decimal | None = None
    bounds: tuple[Decimal, ...] | None = None
    values: tuple[str, ...] | None = None

    def quantise(self, value: str) -> str:
        """The part of the key that stands for a value. Raises `ValueError` if a number is required and the value is not one."""
        if self.values is not None:
            return value if value in self.values else "\x00other"
        if self.step is None and self.bounds is None:
            return value
        number = _number(value)
        if self.step is not None:
            return str(_EXACT.divide(number, self.step).to_integral_value(ROUND_FLOOR))
        return str(sum(number >= bound for bound in self.bounds or ()))


AS_IT_IS = Quantisation()


class CacheRules(_Part):
    """What may be answered from the cache, and for how long."""

    scope: Literal["World", "Tier"] = Field(
        "World",
        description="World: answers stay in their world. Tier: all worlds of the tier share them, so nothing of a world may stand in its prompts.",
    )
    fields: Annotated[dict[FieldName, Quantiser], Field(max_length=32)] = Field(
        default_factory=dict,
        description="The fields of a question that an answer depends on, each with its quantiser. A question that lacks one is not cached.",
    )
    free_text: bool = Field(
        False,
        description="Whether free answers are cached too, by the text of their prompt. Conversations should not be.",
    )
    variants: int = Field(
        1,
        ge=1,
        le=16,
        description="So many answers are kept for one state; an NPC always gets the same one of them.",
    )
    ttl_seconds: int = Field(30, ge=1, le=86_400, description="An answer is fresh for so long.")
    stale_grace_seconds: int = Field(
        300,
        ge=0,
        le=604_800,
        description="And for so long after, it is still better than a default.",
    )


class Archetype(_Part):
    """One kind of NPC."""

    text: str = Field("", max_length=2000, description="What it is, for people.")
    actions: Annotated[list[Action], Field(max_length=MOST_ACTIONS)] = Field(
        default_factory=list,
        description=f"What it can choose from, at most {MOST_ACTIONS}; none: its answers are free text.",
    )
    defaults: Annotated[list[Sentence], Field(max_length=64)] = Field(
        default_factory=list,
        description="Answers when nothing better is to be had in time; an NPC always gets the same one of them. Of an archetype with actions they are some of these.",
    )
    cache: CacheRules | None = Field(None, description="Absent: nothing is cached.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.actions)) != len(self.actions):
            raise ValueError("actions must differ from each other")
        strange = [each for each in self.defaults if self.actions and each not in self.actions]
        if strange:
            near = get_close_matches(strange[0], self.actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"the default {strange[0]!r} is not one of the actions ({', '.join(self.actions)}){hint}"
            )
        return self


class ArchetypeDocument(_Part):
    """One file of archetypes."""

    version: Literal[1] = Field(description="The version of this format: 1.")
    archetypes: Annotated[
        dict[Name, Archetype], Field(min_length=1, max_length=MOST_ARCHETYPES)
    ] = Field(description="Archetypes by name.")


def _number(text: str) -> Decimal:
    """Raises `ValueError` if the text is not a number or is out of range."""
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text[:32]!r} is not a number") from error
    if not number.is_finite() or number.copy_abs() > MOST_NUMBER:
        raise ValueError(
            f"{text[:32]!r} is not a number from -{MOST_NUMBER:.0e} to {MOST_NUMBER:.0e}"
        )
    return number


class ArchetypeError(ValueError):
    """A document is not right; the message names file, key and line of everything that is wrong."""


def documents(files: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The files that are documents, by name, in order."""
    return tuple((name, files[name]) for name in sorted(files) if name.endswith(SUFFIXES))


def parse(files: Mapping[str, str]) -> Mapping[str, Archetype]:
    """The archetypes of all files, by name. Raises `ArchetypeError`.

    `files` are a ConfigMap's data; keys that do not end in .yaml, .yml or .json are passed over.
    """
    found: dict[str, Archetype] = {}
    home: dict[str, str] = {}
    faults: list[str] = []
    mine = [name for name, _ in documents(files)]
    _check_files(files, mine)
    for file in mine:
        try:
            document = parse_file(file, files[file])
        except ArchetypeError as error:
            faults.append(str(error))
            if len(faults) >= _MOST_FAULTS:
                break
            continue
        for name, archetype in document.archetypes.items():
            if name in found:
                faults.append(f"{file}: archetypes.{name}: {home[name]} has it already")
            found[name], home[name] = archetype, file
    if len(found) > MOST_ARCHETYPES:
        faults.append(f"all files together have at most {MOST_ARCHETYPES} archetypes")
    if faults:
        raise ArchetypeError("; ".join(faults)[:_MOST_MESSAGE])
    return found


def _check_files(files: Mapping[str, str], mine: list[str]) -> None:
    if not mine:
        raise ArchetypeError(
            f"no document found: the name of a document must end in {', '.join(SUFFIXES)}"
        )
    if sum(len(files[name].encode()) for name in mine) > MOST_DOCUMENT_BYTES:
        names = ", ".join(mine)[:_MOST_MESSAGE]
        raise ArchetypeError(f"{names}: together at most {MOST_DOCUMENT_BYTES >> 10} KiB are read")


def parse_file(file: str, text: str) -> ArchetypeDocument:
    """The document of one file. Raises `ArchetypeError`."""
    try:
        node = compose(text)
        value = None if node is None else construct(node)
    except YamlError as error:
        where = f"{file} line {error.line}" if error.line else file
        raise ArchetypeError(f"{where}: {error}") from error
    if node is None:
        raise ArchetypeError(f"{file}: the document is empty")
    try:
        return ArchetypeDocument.model_validate(value)
    except ValidationError as error:
        faults = [_fault(file, node, _place(each), _words(each)) for each in error.errors()[:8]]
        raise ArchetypeError("; ".join(faults)) from error


def document(found: Mapping[str, Archetype]) -> str:
    """Archetypes as one document; equal archetypes give equal text."""
    made = ArchetypeDocument(version=1, archetypes=dict(sorted(found.items())))
    return made.model_dump_json(by_alias=True, exclude_defaults=True)


def parse_document(text: str) -> Mapping[str, Archetype]:
    """The archetypes of such a document. Raises `ArchetypeError`."""
    try:
        return ArchetypeDocument.model_validate_json(text).archetypes
    except ValidationError as error:
        raise ArchetypeError(f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error


def json_schema() -> dict[str, Any]:
    """The document's JSON Schema, for editors."""
    return ArchetypeDocument.model_json_schema(by_alias=True)


_PLAIN = MappingProxyType(
    {
        "int_parsing": "must be a whole number",
        "int_type": "must be a whole number",
        "string_type": "must be a text: quote it",
        "bool_parsing": "must be true or false",
        "missing": "is missing",
        "list_type": "must be a list: [a, b]",
        "dict_type": "must be a mapping: {key: value}",
        "model_type": "must be a mapping: {key: value}",
    }
)
# Keys that people look for here, and where it is instead.
_ELSEWHERE = MappingProxyType(
    dict.fromkeys(
        ("prompt", "system", "persona"),
        "the game server sends who the NPC is, with the prompt of each question",
    )
)


def _words(error: Any) -> str:
    """What is wrong, in words; a key that is not known with those that are."""
    place: tuple[int | str, ...] = error["loc"]
    if error["type"] == "model_type" and place[-2:-1] == ("fields",):
        return "must be {}, {step: 10}, {bounds: [6, 20]} or {values: [storm]}"
    if error["type"] in _PLAIN:
        return _PLAIN[error["type"]]
    if error["type"] == "literal_error":
        return f"must be {error['ctx']['expected']}"
    if error["type"] == "string_pattern_mismatch":
        field = "fields" in place
        return f"must have {'letters, digits, _, . and -, a letter first' if field else 'small letters, digits and -'}, at most 63"
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    return _unknown(place)


def _unknown(place: tuple[int | str, ...]) -> str:
    """A key that its part does not have, with the key that is meant, or where it belongs."""
    key, part = str(place[-1]), _part(place[:-1])
    known = sorted(field.alias or name for name, field in part.model_fields.items())
    longer = [each for each in known if each.lower().startswith(key.lower())]
    near = [*get_close_matches(key, known, n=1), *longer]
    if near:
        return f"{key} is not a known key; did you mean {near[0]}?"
    remedy = f": {_ELSEWHERE[key]}" if key in _ELSEWHERE else ""
    return f"{key} is not a known key (there are {', '.join(known)}){remedy}"


def _part(place: tuple[int | str, ...]) -> type[_Part]:
    """What stands at a place of a document."""
    if "fields" in place:
        return Quantiser
    if place[-1:] == ("cache",):
        return CacheRules
    return Archetype if place else ArchetypeDocument


def _place(error: Any) -> tuple[int | str, ...]:
    """Where it is wrong; a rule of a whole archetype is about one of its keys."""
    place: tuple[int | str, ...] = error["loc"]
    about = {"the default": "defaults", "actions must": "actions"}
    text = str(error["msg"]).removeprefix("Value error, ")
    return (*place, *(key for start, key in about.items() if text.startswith(start)))


def _fault(file: str, root: yaml.Node, place: tuple[int | str, ...], message: str) -> str:
    key = ".".join(str(part) for part in place if part != "[key]")
    return f"{file} line {line_of(root, place)}: {key or 'document'}: {message}"
