"""PURE: archetypes as a gateway keeps them: compact, and counted in the bytes that they hold.

A parsed document of pydantic objects holds up to 57 times the bytes of its text, and tenants choose the text.
"""

from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b, sha256
from sys import getsizeof
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from gameai_contract import archetypes
from gameai_contract.archetypes import MOST_DOCUMENT_BYTES, Quantisation

# The operator hands documents on with every default written out.
_MOST_CHARACTERS = 4 * MOST_DOCUMENT_BYTES
# One tenant, and all of them together. The operator refuses documents long before a namespace holds so much; the first is
# known before a document is read, which takes up to a tenth of a second.
MOST_NAMESPACE_CHARACTERS = 2 << 20
MOST_NAMESPACE_BYTES = 32 << 20
MOST_BYTES = 128 << 20


class CacheRules(NamedTuple):
    """What may be answered from the cache, and for how long. `shared`: by all worlds of the namespace on the tier."""

    shared: bool = False
    fields: Mapping[str, Quantisation] = MappingProxyType({})
    free_text: bool = False
    variants: int = 1
    ttl_seconds: int = 30
    stale_grace_seconds: int = 300


class Archetype(NamedTuple):
    """One kind of NPC. `digest` stands for all that its answers depend on; how long they are fresh is not among it."""

    actions: tuple[str, ...]
    defaults: tuple[str, ...]
    cache: CacheRules | None
    digest: bytes


class Archetypes(dict[str, Archetype]):
    """The archetypes of a document, by name; never changed. `held_bytes` is the memory that they take.

    `characters` are those of the document. A document over the budget is not the same as one without archetypes.
    """

    __slots__ = ("__weakref__", "characters", "held_bytes")
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        """Whether they say the same."""
        if self is OVER_BUDGET or other is OVER_BUDGET:
            return self is other
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        """The opposite, which a dict would not derive."""
        return not self == other

    def __init__(self, found: Mapping[str, archetypes.Archetype], characters: int = 0) -> None:
        super().__init__({name: _compact(each) for name, each in found.items()})
        self.characters = characters
        self.held_bytes = _held(self)


class Library:
    """Reads documents: equal ones once, for as long as a world has them, and of a namespace no more than fit."""

    def __init__(self) -> None:
        self._spaces: dict[str, WeakValueDictionary[bytes, Archetypes]] = {}

    def read(self, space: str, text: str) -> Archetypes:
        """The archetypes of a document; `OVER_BUDGET` where the namespace holds too much. Raises `ArchetypeError`."""
        digest = sha256(text.encode()).digest()
        here = self._spaces.get(space, WeakValueDictionary())
        found = here.get(digest)
        if found is not None:
            return found
        if sum(each.characters for each in here.values()) + len(text) > MOST_NAMESPACE_CHARACTERS:
            return OVER_BUDGET
        found = self._elsewhere(digest)
        if found is None:
            found = Archetypes(_parsed(text), len(text))
        if sum(each.held_bytes for each in here.values()) + found.held_bytes > MOST_NAMESPACE_BYTES:
            return OVER_BUDGET
        here[digest] = found
        self._spaces[space] = here
        return found

    def _elsewhere(self, digest: bytes) -> Archetypes | None:
        """What another namespace has read; worlds of one studio often have the same in each."""
        for name in [name for name, held in self._spaces.items() if not held]:
            del self._spaces[name]
        found = (held.get(digest) for held in self._spaces.values())
        return next((each for each in found if each is not None), None)


def _parsed(text: str) -> Mapping[str, archetypes.Archetype]:
    if len(text) > _MOST_CHARACTERS:
        raise archetypes.ArchetypeError(f"archetypes have at most {_MOST_CHARACTERS >> 10} KiB")
    return archetypes.parse_document(text)


def within_budget(worlds: Mapping[str, Archetypes], most: int = MOST_BYTES) -> frozenset[str]:
    """The worlds (`namespace/name`) whose archetypes may be used.

    Namespaces that hold less come first, so that what one holds is never the reason to refuse another that holds less.
    """
    spaces: dict[str, dict[int, int]] = {}
    for key, each in worlds.items():
        spaces.setdefault(key.partition("/")[0], {})[id(each)] = each.held_bytes
    left = most
    fitting = set()
    for held, space in sorted((sum(each.values()), space) for space, each in spaces.items()):
        left -= held
        if left < 0:
            break
        fitting.add(space)
    return frozenset(
        key
        for key, each in worlds.items()
        if key.partition("/")[0] in fitting and each is not OVER_BUDGET
    )


def _compact(found: archetypes.Archetype) -> Archetype:
    times = {"cache": {"ttl_seconds", "stale_grace_seconds"}}
    text = found.model_dump_json(exclude={"text": True, **times}).encode()
    cache = found.cache
    return Archetype(
        actions=tuple(found.actions),
        defaults=tuple(found.defaults),
        cache=None if cache is None else _rules(cache),
        digest=blake2b(text, digest_size=8).digest(),
    )


def _rules(given: archetypes.CacheRules) -> CacheRules:
    return CacheRules(
        shared=given.scope == "Tier",
        fields={name: each.quantisation() for name, each in given.fields.items()},
        free_text=given.free_text,
        variants=given.variants,
        ttl_seconds=given.ttl_seconds,
        stale_grace_seconds=given.stale_grace_seconds,
    )


def _held(value: Any) -> int:
    """Bytes of a value and of all that it consists of."""
    own = getsizeof(value)
    if isinstance(value, dict):
        return own + sum(_held(name) + _held(each) for name, each in value.items())
    if isinstance(value, tuple):
        return own + sum(map(_held, value))
    return own if isinstance(value, str | bytes | Decimal) else 0


NONE = Archetypes({})
# Of a world whose archetypes do not fit the budget.
OVER_BUDGET = Archetypes({})
