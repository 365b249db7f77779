"""PURE: what a question amounts to: its tier, time, form, cache key and default; or what is wrong with it. Nothing here waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

from gameai_contract.archetypes import MOST_ACTIONS
from gameai_contract.inference import MOST_DEADLINE_MS, MOST_TOKENS, FallbackStep

from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.gateway.memory import namespace
from gameai.gateway.routing.archetypes import OVER_BUDGET, Archetype, CacheRules
from gameai.gateway.routing.snapshot import RoleView, TierView, View, WorldView
from gameai.inference.v1 import inference_pb2 as pb

MOST_PROMPT_CHARACTERS = 64 << 10
MOST_MESSAGES = 64
MOST_ACTION_BYTES = 128
MOST_NAME_CHARACTERS = 128
MOST_FIELDS = 64
MOST_FIELD_CHARACTERS = 256
DEFAULT_TOKENS = 64
# vLLM's own bound, before it counts tokens: its longest one has so many characters.
CHARACTERS_PER_TOKEN = 13
_NAMES_LISTED = 10
_MOST_STEMS = 10_000
_SPEAKERS = MappingProxyType(
    {
        pb.SPEAKER_SYSTEM: "system",
        pb.SPEAKER_USER: "user",
        pb.SPEAKER_ASSISTANT: "assistant",
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """A role of a world with its tier: what is the same for every question to it.

    `fresh`: whether another's fresh answer will do; `characters`: the longest prompt.
    """

    world: WorldView
    role: RoleView
    tier: TierView
    flow: str
    revisions: tuple[str, ...]
    fresh: bool
    characters: int


class Plan(NamedTuple):
    """One question, ready to be answered. `key` stands for all that its answer depends on but the model's revision; None: not cached."""

    route: Route
    archetype: Archetype | None
    actions: Sequence[str]
    tokens: int
    deadline_ms: int
    rules: CacheRules | None
    key: bytes | None
    seed: int
    default: str
    affinity: str

    @property
    def shares(self) -> bool:
        """Whether another's fresh answer will do: it may be cached, and the role's fallback chain says so."""
        return self.key is not None and self.route.fresh

    @property
    def cost(self) -> float:
        """Its part of an engine's time, where an action is 1."""
        return 1.0 + self.tokens / 16

    def moved(self, route: Route) -> "Plan":
        """The same question for another role: with its deadline and tier, and without cache."""
        return self._replace(route=route, deadline_ms=route.role.deadline_ms, key=None, rules=None)

    def keyed(self, revision: str) -> tuple[str, bytes]:
        """Where answers of a model's revision are kept."""
        return revision, self.key or b""


class Planner:
    """Plans over one view; a new view needs a new planner."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._posts: dict[tuple[str, str], Route] = {}
        self._stems: dict[tuple[str, str], bytes] = {}

    def plan(self, world: WorldView, question: pb.Question) -> Plan:
        """Raises `NotFoundError` and `InvalidArgumentError`, which name the field and the remedy."""
        route = self.route(world, question.role)
        world = route.world
        archetype = self._archetype(world, question.archetype)
        npc, own = question.npc, question.actions
        actions = _actions(own, archetype)
        tokens = 1 if actions else _tokens(question.max_tokens, route.tier)
        rules = archetype.cache if archetype is not None else None
        if rules is not None and not actions and not rules.free_text:
            rules = None
        seed = 0
        if rules is not None and rules.variants > 1:
            seed = 1 + crc32(npc.encode()) % rules.variants
        deadline = question.deadline_ms or route.role.deadline_ms
        if deadline > MOST_DEADLINE_MS:
            raise InvalidArgumentError(
                f"deadline_ms must be at most {MOST_DEADLINE_MS}", field="deadline_ms"
            )
        if len(npc) > MOST_NAME_CHARACTERS:
            raise InvalidArgumentError(
                f"npc must have at most {MOST_NAME_CHARACTERS} characters", field="npc"
            )
        _check_prompt(question, route)
        return Plan(
            route,
            archetype,
            actions,
            tokens,
            deadline,
            rules,
            None if rules is None else self._key(question, route, archetype, own, seed),
            seed,
            _default(npc, actions, archetype),
            question.archetype if actions else npc or question.archetype,
        )

    def route(self, world: WorldView, name: str) -> Route:
        """A role of a world, with its tier. Raises `NotFoundError`."""
        found = self._posts.get((world.key, name))
        if found is not None:
            return found
        # The world as this view has it: who asks may have looked it up in an older one.
        seen = self.view.worlds.get(world.key)
        if seen is None:
            raise NotFoundError(f"world {world.key} is not there any more")
        world = seen
        role = world.roles.get(name)
        if role is None:
            raise NotFoundError(
                f"role {name[:64]!r} not found in world {world.key}; {_named(world.roles)}",
                field="role",
            )
        tier = self.view.tiers.get(role.tier)
        if tier is None:
            raise NotFoundError(
                f"role {name!r} of {world.key} has no tier: {role.tier} is not there"
            )
        made = Route(
            world,
            role,
            tier,
            f"{world.key}/{name}",
            _revisions(tier),
            FallbackStep.FRESH_CACHE in role.fallback_chain,
            min(MOST_PROMPT_CHARACTERS, tier.context_tokens * CHARACTERS_PER_TOKEN),
        )
        self._posts[world.key, name] = made
        return made

    def _key(
        self,
        question: pb.Question,
        route: Route,
        archetype: Archetype | None,
        actions: Sequence[str],
        seed: int,
    ) -> bytes | None:
        """16 bytes; None where the question lacks a field that its answer depends on, or nothing is cached."""
        rules = None if archetype is None else archetype.cache
        if archetype is None or rules is None or question.cache == pb.CACHE_USE_OFF:
            return None
        parts = _parts(question, rules) if rules.fields else []
        if parts is None:
            return None
        stem = self._stem(question, route, archetype, actions)
        return _digest(stem, seed, parts) if seed or parts else stem

    def _stem(
        self,
        question: pb.Question,
        route: Route,
        archetype: Archetype,
        actions: Sequence[str],
    ) -> bytes:
        """What stands for all but variant and fields; for an archetype's own actions it is the same each time."""
        name = question.archetype
        shared = archetype.cache is not None and archetype.cache.shared
        where = (route.flow, name)
        again = not actions and not shared
        if again and (found := self._stems.get(where)) is not None:
            return found
        world = route.world
        # A namespace shares with itself alone: another one's answers are another tenant's words.
        scope = (namespace(world.key), "") if shared else (world.key, world.epoch)
        form: object = list(actions or archetype.actions)
        if not form:
            form = (messages(question), question.max_tokens)
        stable = _stable(question) if shared else ""
        made = _digest(scope, route.tier.key, name, archetype.digest, form, stable)
        if again and archetype.actions:
            if len(self._stems) >= _MOST_STEMS:
                self._stems.clear()
            self._stems[where] = made
        return made

    def _archetype(self, world: WorldView, name: str) -> Archetype | None:
        if not name:
            return None
        found = world.archetypes.get(name)
        if world.archetypes is OVER_BUDGET:
            raise NotFoundError(
                f"the archetypes of {world.key} do not fit what gateways keep of a namespace: "
                "fewer or smaller documents"
            )
        if found is None:
            available = _named(world.archetypes)
            raise NotFoundError(
                f"archetype {name[:64]!r} not found in world {world.key}; {available}",
                field="archetype",
            )
        return found


def messages(question: pb.Question) -> list[dict[str, str]]:
    """The chat that a question holds."""
    parts = question.prompt.parts
    if parts:
        return [{"role": "user", "content": "\n".join(parts)}]
    chat = question.chat.messages
    return [{"role": _SPEAKERS[each.speaker], "content": each.text} for each in chat]


def _actions(given: Sequence[str], archetype: Archetype | None) -> Sequence[str]:
    if not given:
        return archetype.actions if archetype is not None else ()
    if len(given) > MOST_ACTIONS:
        raise InvalidArgumentError(
            f"actions must be at most {MOST_ACTIONS}, one letter each: {len(given)} were given",
            field="actions",
        )
    if len(set(given)) != len(given):
        raise InvalidArgumentError("actions must differ from each other", field="actions")
    if not all(given) or max(len(each.encode()) for each in given) > MOST_ACTION_BYTES:
        raise InvalidArgumentError(
            f"each of actions must have 1 to {MOST_ACTION_BYTES} bytes", field="actions"
        )
    return list(given)


def _tokens(given: int, tier: TierView) -> int:
    most = min(MOST_TOKENS, tier.context_tokens)
    if given > most:
        raise InvalidArgumentError(f"max_tokens must be at most {most}", field="max_tokens")
    return given or min(DEFAULT_TOKENS, most)


def _check_prompt(question: pb.Question, route: Route) -> None:
    parts, chat = question.prompt.parts, question.chat.messages
    if not parts and not chat:
        raise InvalidArgumentError(
            "give a prompt with parts, or a chat with messages", field="prompt"
        )
    if len(chat) > MOST_MESSAGES or len(parts) > MOST_MESSAGES:
        raise InvalidArgumentError(
            f"prompt.parts and chat.messages have at most {MOST_MESSAGES} entries",
            field="prompt.parts" if parts else "chat.messages",
        )
    if chat and any(each.speaker not in _SPEAKERS for each in chat):
        raise InvalidArgumentError(
            "chat.messages.speaker must be SYSTEM, USER or ASSISTANT", field="chat.messages.speaker"
        )
    tier, most = route.tier, route.characters
    if question.ByteSize() <= most:
        # No text has more characters than bytes.
        return
    length = sum(map(len, parts)) + sum(len(each.text) for each in chat)
    if length > most:
        raise InvalidArgumentError(
            f"the prompt has {length} characters; at most {most} fit the {tier.context_tokens} tokens of {tier.key}",
            field="prompt",
        )


def _parts(question: pb.Question, rules: CacheRules) -> list[str] | None:
    """The declared fields, quantised; None where the question lacks one. Raises `InvalidArgumentError`."""
    fields: Mapping[str, str] = question.fields
    if len(fields) > MOST_FIELDS:
        raise InvalidArgumentError(f"fields must be at most {MOST_FIELDS}", field="fields")
    parts = []
    for name, quantiser in rules.fields.items():
        if name not in fields:
            return None
        if len(fields[name]) > MOST_FIELD_CHARACTERS:
            raise InvalidArgumentError(
                f"fields.{name} must have at most {MOST_FIELD_CHARACTERS} characters",
                field=f"fields.{name}",
            )
        try:
            parts.append(quantiser.quantise(fields[name]))
        except (ValueError, ArithmeticError) as error:
            raise InvalidArgumentError(f"fields.{name}: {error}", field=f"fields.{name}") from error
    return parts


def _stable(question: pb.Question) -> str:
    """What a prompt begins with, and an answer depends on: the first of several parts, or the system's message."""
    parts, chat = question.prompt.parts, question.chat.messages
    if len(parts) > 1:
        return parts[0]
    first = chat[0] if chat else None
    return first.text if first and first.speaker == pb.SPEAKER_SYSTEM else ""


def _digest(*parts: object) -> bytes:
    """16 bytes for some values; `repr` keeps apart what joined texts would not."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _default(npc: str, actions: Sequence[str], archetype: Archetype | None) -> str:
    """An archetype's default for an NPC, if it is one of the actions that were asked for."""
    if archetype is None or not archetype.defaults:
        return ""
    fitting = [each for each in archetype.defaults if not actions or each in actions]
    return fitting[crc32(npc.encode()) % len(fitting)] if fitting else ""


def _revisions(tier: TierView) -> tuple[str, ...]:
    """Revisions of the models that reply, the commonest first."""
    found = [endpoint.revision for endpoint in tier.endpoints]
    return tuple(sorted(set(found), key=lambda each: (-found.count(each), each))) or ("",)


def _named(names: Mapping[str, object]) -> str:
    """What there is, in a sentence that stays short."""
    known = sorted(names)
    rest = f" and {len(known) - _NAMES_LISTED} more" if len(known) > _NAMES_LISTED else ""
    return f"available: {', '.join(known[:_NAMES_LISTED])}{rest}" if known else "the world has none"
