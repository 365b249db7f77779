"""PURE: statements on relations between concepts. Each sees the rows of one world, and those of all worlds."""

_KEY = "subject_kind, subject_name, kind, object_kind, object_name"
FIELDS = f"{_KEY}, world_id, version, from_seconds, ended, strength, cause_sequence, account, recorded_at"
_SAME = (
    "world_id IS NOT DISTINCT FROM %(world)s::int AND subject_kind = %(subject_kind)s AND subject_name = %(subject_name)s"
    " AND kind = %(kind)s AND object_kind = %(object_kind)s AND object_name = %(object_name)s"
)
# The last version, and the one that the same call wrote.
VERSIONS = (
    "SELECT version, from_seconds, ended, strength, cause_sequence FROM memory.concept_relationships"
    f" WHERE {_SAME} AND (version = (SELECT max(version) FROM memory.concept_relationships WHERE {_SAME})"
    " OR (from_seconds = %(from)s AND ended = %(ended)s AND strength = %(strength)s AND cause_sequence = %(cause)s))"
    " ORDER BY version DESC LIMIT 2"
)
COUNT = (
    "SELECT count(*) FROM memory.concept_relationships"
    " WHERE world_id IS NOT DISTINCT FROM %(world)s::int AND version = 1"
)
INSERT = (
    f"INSERT INTO memory.concept_relationships (world_id, {_KEY}, version, from_seconds, ended, strength, cause_sequence, account)"
    " VALUES (%(world)s, %(subject_kind)s, %(subject_name)s, %(kind)s, %(object_kind)s, %(object_name)s, %(version)s, %(from)s,"
    " %(ended)s, %(strength)s, %(cause)s, %(account)s)"
)


def _touching(end: str) -> str:
    """Relations whose subject or object is one of the given concepts."""
    return (
        "SELECT relations.* FROM memory.concept_relationships AS relations JOIN given"
        f" ON relations.{end}_kind = given.kind AND relations.{end}_name = given.name"
        " WHERE (relations.world_id = %(world)s OR relations.world_id IS NULL) AND relations.from_seconds <= %(seconds)s"
        " AND (cardinality(%(kinds)s::text[]) = 0 OR relations.kind = ANY(%(kinds)s::text[]))"
        f" AND %(by_{end})s"
    )


def _visible(end: str) -> str:
    """Whether the world sees the concept at this end."""
    return (
        "EXISTS (SELECT FROM memory.narrative_concepts AS concepts JOIN memory.concept_versions AS held USING (concept_id)"
        " WHERE (concepts.world_id = %(world)s OR concepts.world_id IS NULL) AND held.from_seconds <= %(seconds)s"
        f" AND concepts.kind = latest.{end}_kind AND concepts.name = latest.{end}_name)"
    )


STEP = (
    "WITH given AS (SELECT * FROM unnest(%(concept_kinds)s::text[], %(concept_names)s::text[]) AS given (kind, name)),"
    f" touching AS ({_touching('subject')} UNION {_touching('object')}),"
    f" latest AS (SELECT DISTINCT ON ({_KEY}) * FROM touching ORDER BY {_KEY}, world_id NULLS LAST, version DESC)"
    f" SELECT {FIELDS} FROM latest WHERE NOT ended AND {_visible('subject')} AND {_visible('object')}"
    f" ORDER BY strength DESC, {_KEY} LIMIT %(most)s"
)
# A world that still has a concept of its own of this name keeps the relations of that one.
FORGET = (
    "DELETE FROM memory.concept_relationships WHERE world_id IS NOT DISTINCT FROM %(world)s::int"
    " AND ((subject_kind = %(kind)s AND subject_name = %(name)s) OR (object_kind = %(kind)s AND object_name = %(name)s))"
    " AND NOT EXISTS (SELECT FROM memory.narrative_concepts AS own"
    " WHERE own.world_id = %(world)s::int AND own.kind = %(kind)s AND own.name = %(name)s)"
)
