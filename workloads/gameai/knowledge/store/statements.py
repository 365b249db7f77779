"""PURE: the functions of the database that search, and the lock of those that write. A world's rows are searched exactly, global rows by their index.

A function sets the world for its own transaction, which row-level security reads, and searches: one round trip.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gameai.knowledge.records import Mode, Scope

# How deep each of the two lists is, before they are ranked together. 60 is the constant of reciprocal rank fusion
# (Cormack, Clarke and Büttcher, SIGIR 2009): score = sum over the lists of 1 / (60 + rank).
FUSION = 60
DEEP = "greatest(50, $7)"
_FILTER = "status = 'live' AND trust >= $5 AND (audience = '{}' OR audience && $6)"
_FIELDS = "content, trust, source, document, section, document_sha256, begin_byte, end_byte"


def _near(limit: str, *more: str) -> Mapping[Scope, str]:
    """The rows that are nearest to the vector, by scope, with more columns. OFFSET 0 keeps the planner from an index over all worlds."""
    fields = ", ".join(("scope", "chunk_id", "embedding <=> $3 AS distance", *more))
    shared = (
        f"(SELECT {fields} FROM memory.narrative_documents_g"
        f" WHERE {_FILTER} ORDER BY embedding <=> $3 LIMIT {limit})"
    )
    own = (
        f"(SELECT * FROM (SELECT {fields} FROM memory.narrative_documents_w"
        f" WHERE world_id = $1 AND {_FILTER} OFFSET 0) AS mine ORDER BY distance LIMIT {limit})"
    )
    return _scoped(shared, own)


def _spelled(limit: str) -> Mapping[Scope, str]:
    """The rows that share words with the text, by scope. Any word counts: questions have words that no answer has."""
    # 1: divided by 1 + the logarithm of the length, so that a long chunk is not found for being long.
    rank = "ts_rank(tsv, words.query, 1) AS rank"
    shared = (
        f"(SELECT scope, chunk_id, {rank} FROM memory.narrative_documents_g, words"
        f" WHERE {_FILTER} AND tsv @@ words.query ORDER BY rank DESC, chunk_id LIMIT {limit})"
    )
    own = (
        f"(SELECT scope, chunk_id, {rank} FROM memory.narrative_documents_w, words"
        f" WHERE world_id = $1 AND {_FILTER} AND tsv @@ words.query ORDER BY rank DESC, chunk_id LIMIT {limit})"
    )
    return _scoped(shared, own)


def _scoped(shared: str, own: str) -> Mapping[Scope, str]:
    return {
        Scope.GLOBAL: shared,
        Scope.WORLD: own,
        Scope.GLOBAL_AND_WORLD: f"{shared} UNION ALL {own}",
    }


# The query is computed once: in each row it would cost six times as much.
WORDS = "words AS MATERIALIZED (SELECT replace(plainto_tsquery('english', $4)::text, ' & ', ' | ')::tsquery AS query)"


def _meaning(scope: Scope) -> str:
    rows = _near(DEEP)[scope]
    return f"meaning AS (SELECT *, row_number() OVER (ORDER BY distance, chunk_id) AS place FROM ({rows}) AS found ORDER BY place LIMIT {DEEP})"


def _spelling(scope: Scope) -> str:
    rows = _spelled(DEEP)[scope]
    return f"spelling AS (SELECT *, row_number() OVER (ORDER BY rank DESC, chunk_id) AS place FROM ({rows}) AS found ORDER BY place LIMIT {DEEP})"


_IN_MEANING = f"SELECT scope, chunk_id, 1.0 / ({FUSION} + place) AS score, place AS near_place, 0 AS word_place, distance FROM meaning"
_IN_SPELLING = f"SELECT scope, chunk_id, 1.0 / ({FUSION} + place) AS score, 0 AS near_place, place AS word_place, NULL AS distance FROM spelling"


def _statement(parts: list[str], lists: list[str]) -> str:
    return (
        f"WITH {', '.join(parts)}, ranked AS (SELECT scope, chunk_id, sum(score) AS score, max(near_place) AS near_place,"
        f" max(word_place) AS word_place, min(distance) AS distance FROM ({' UNION ALL '.join(lists)}) AS both_lists"
        " GROUP BY scope, chunk_id ORDER BY score DESC, scope, chunk_id LIMIT $7)"
        f" SELECT chunk_id, scope, score::float8, distance::float8, near_place::int, word_place::int, {_FIELDS}"
        " FROM ranked JOIN memory.narrative_documents USING (scope, chunk_id) ORDER BY score DESC, scope, chunk_id"
    )


def _nearest(scope: Scope) -> str:
    """By meaning alone the lists need no ranks: the texts come with the rows."""
    rows = _near("$7", _FIELDS)[scope]
    return (
        "SELECT chunk_id, scope, 1 - distance, distance, (row_number() OVER (ORDER BY distance, chunk_id))::int, 0,"
        f" {_FIELDS} FROM ({rows}) AS found ORDER BY distance, chunk_id LIMIT $7"
    )


def _of(mode: Mode, scope: Scope) -> str:
    if mode is Mode.VECTOR:
        return _nearest(scope)
    if mode is Mode.TEXT:
        return _statement([WORDS, _spelling(scope)], [_IN_SPELLING])
    return _statement([WORDS, _meaning(scope), _spelling(scope)], [_IN_MEANING, _IN_SPELLING])


# Part of the functions' names. A release that changes parameters or columns raises it and keeps the former functions, because pods
# of both releases run during an update.
_VERSION = 1
_PARAMETERS = "int, text, halfvec, text, int, text[], int"
_COLUMNS = (
    "chunk_id bigint, scope text, score float8, distance float8, near_place int, word_place int, content text,"
    " trust smallint, source text, document text, section text, document_sha256 bytea, begin_byte int, end_byte int"
)


def _name(mode: Mode, scope: Scope) -> str:
    return f"memory.search_{_VERSION}_{mode.value}_{scope.value}"


def _function(mode: Mode, scope: Scope) -> str:
    # A name in a statement is a column, never a result of the function.
    # One plan serves all calls: planning takes about as long as reading the index. The settings last until the transaction ends,
    # so that a search is a transaction of its own.
    # A plan for any limit expects a tenth of all rows, for which a scan of them all can look cheaper than the index.
    return (
        f"CREATE OR REPLACE FUNCTION {_name(mode, scope)}({_PARAMETERS}) RETURNS TABLE ({_COLUMNS})"
        " LANGUAGE plpgsql AS $function$ #variable_conflict use_column\nBEGIN"
        " PERFORM set_config('memory.world', coalesce($1::text, ''), true), set_config('hnsw.ef_search', $2, true),"
        " set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true);"
        f" RETURN QUERY {_of(mode, scope)}; END $function$"
    )


_ALL = tuple((mode, scope) for mode in Mode for scope in Scope)
# Run after each migration; the same again changes nothing.
FUNCTIONS = tuple(_function(mode, scope) for mode, scope in _ALL)
NAMES = tuple(_name(mode, scope) for mode, scope in _ALL)
# Parameters: world, candidates of the index, vector, text, trust, audience, count.
SEARCH: Mapping[tuple[Mode, Scope], str] = MappingProxyType(
    {
        (mode, scope): (
            f"SELECT * FROM {_name(mode, scope)}(%(world)s::int, %(candidates)s::text, %(vector)b::halfvec, %(text)s::text,"
            " %(trust)s::int, %(audience)s::text[], %(count)s::int)"
        )
        for mode, scope in _ALL
    }
)
# Under it chunks of a world, or of global lore, are written and reviewed, until the end of the transaction.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('verdicts of ' || coalesce(%(world)s::text, 'lore'), 0))"
# The transaction sees the rows of this world, and of no other.
SEE = "SELECT set_config('memory.world', coalesce(%(world)s::text, ''), true)"
