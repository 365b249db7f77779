"""PURE: the statements of a search. A world's rows are searched exactly, global rows by their index; the two lists are merged."""

from collections.abc import Mapping
from types import MappingProxyType

from gameai.knowledge.records import Mode, Scope

# Of each of the two lists, before they are ranked together. 60 is the constant of reciprocal rank fusion
# (Cormack, Clarke and Büttcher, SIGIR 2009): score = sum over the lists of 1 / (60 + rank).
_CANDIDATES, _FUSION = 50, 60
_FILTER = "status = 'live' AND trust >= %(trust)s AND (audience = '{}' OR audience && %(audience)s)"
_FIELDS = "content, trust, source, document, section, document_sha256, begin_byte, end_byte"


def _near(limit: str) -> Mapping[Scope, str]:
    """The rows that are nearest to the vector, by scope. OFFSET 0 keeps the planner from an index over all worlds."""
    distance = "embedding <=> %(vector)b AS distance"
    shared = (
        f"(SELECT scope, chunk_id, {distance} FROM memory.narrative_documents_g"
        f" WHERE {_FILTER} ORDER BY embedding <=> %(vector)b LIMIT {limit})"
    )
    own = (
        f"(SELECT * FROM (SELECT scope, chunk_id, {distance} FROM memory.narrative_documents_w"
        f" WHERE world_id = %(world)s AND {_FILTER} OFFSET 0) AS mine ORDER BY distance LIMIT {limit})"
    )
    return _scoped(shared, own)


def _spelled(limit: str) -> Mapping[Scope, str]:
    """The rows that share words with the text, by scope. Any word counts: questions have words that no answer has."""
    rank = "ts_rank(tsv, words.query) AS rank"
    shared = (
        f"(SELECT scope, chunk_id, {rank} FROM memory.narrative_documents_g, words"
        f" WHERE {_FILTER} AND tsv @@ words.query ORDER BY rank DESC, chunk_id LIMIT {limit})"
    )
    own = (
        f"(SELECT scope, chunk_id, {rank} FROM memory.narrative_documents_w, words"
        f" WHERE world_id = %(world)s AND {_FILTER} AND tsv @@ words.query ORDER BY rank DESC, chunk_id LIMIT {limit})"
    )
    return _scoped(shared, own)


def _scoped(shared: str, own: str) -> Mapping[Scope, str]:
    return {
        Scope.GLOBAL: shared,
        Scope.WORLD: own,
        Scope.GLOBAL_AND_WORLD: f"{shared} UNION ALL {own}",
    }


# The query is computed once: in each row it would cost six times as much.
_WORDS = "words AS MATERIALIZED (SELECT replace(plainto_tsquery('english', %(text)s)::text, ' & ', ' | ')::tsquery AS query)"


def _meaning(scope: Scope) -> str:
    rows = _near(str(_CANDIDATES))[scope]
    return f"meaning AS (SELECT *, row_number() OVER (ORDER BY distance, chunk_id) AS place FROM ({rows}) AS found ORDER BY place LIMIT {_CANDIDATES})"


def _spelling(scope: Scope) -> str:
    rows = _spelled(str(_CANDIDATES))[scope]
    return f"spelling AS (SELECT *, row_number() OVER (ORDER BY rank DESC, chunk_id) AS place FROM ({rows}) AS found ORDER BY place LIMIT {_CANDIDATES})"


_IN_MEANING = f"SELECT scope, chunk_id, 1.0 / ({_FUSION} + place) AS score, place AS near_place, 0 AS word_place, distance FROM meaning"
_IN_SPELLING = f"SELECT scope, chunk_id, 1.0 / ({_FUSION} + place) AS score, 0 AS near_place, place AS word_place, NULL AS distance FROM spelling"


def _statement(parts: list[str], lists: list[str]) -> str:
    return (
        f"WITH {', '.join(parts)}, ranked AS (SELECT scope, chunk_id, sum(score) AS score, max(near_place) AS near_place,"
        f" max(word_place) AS word_place, min(distance) AS distance FROM ({' UNION ALL '.join(lists)}) AS both_lists"
        " GROUP BY scope, chunk_id ORDER BY score DESC, scope, chunk_id LIMIT %(count)s)"
        f" SELECT chunk_id, scope, score::float8, distance::float8, near_place, word_place, {_FIELDS}"
        " FROM ranked JOIN memory.narrative_documents USING (scope, chunk_id) ORDER BY score DESC, scope, chunk_id"
    )


def _nearest(scope: Scope) -> str:
    """By meaning alone the lists need no ranks: the texts come with the rows."""
    fields = f"scope, chunk_id, embedding <=> %(vector)b AS distance, {_FIELDS}"
    shared = (
        f"(SELECT {fields} FROM memory.narrative_documents_g WHERE {_FILTER}"
        " ORDER BY embedding <=> %(vector)b LIMIT %(count)s)"
    )
    own = (
        f"(SELECT * FROM (SELECT {fields} FROM memory.narrative_documents_w WHERE world_id = %(world)s AND {_FILTER} OFFSET 0) AS mine"
        " ORDER BY distance LIMIT %(count)s)"
    )
    rows = _scoped(shared, own)[scope]
    return (
        "SELECT chunk_id, scope, 1 - distance, distance, row_number() OVER (ORDER BY distance, chunk_id), 0,"
        f" {_FIELDS} FROM ({rows}) AS found ORDER BY distance, chunk_id LIMIT %(count)s"
    )


def _of(mode: Mode, scope: Scope) -> str:
    if mode is Mode.VECTOR:
        return _nearest(scope)
    if mode is Mode.TEXT:
        return _statement([_WORDS, _spelling(scope)], [_IN_SPELLING])
    return _statement([_WORDS, _meaning(scope), _spelling(scope)], [_IN_MEANING, _IN_SPELLING])


# Columns: chunk_id, scope, score, distance, place by meaning, place by words, then the fields of a hit.
SEARCH: Mapping[tuple[Mode, Scope], str] = MappingProxyType(
    {(mode, scope): _of(mode, scope) for mode in Mode for scope in Scope}
)
