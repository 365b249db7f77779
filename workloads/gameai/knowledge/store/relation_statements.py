"""PURE: statements on relations between concepts. Each sees the rows of one world, and those of all worlds."""

KEY = ("subject_kind", "subject_name", "kind", "object_kind", "object_name")
_KEY = ", ".join(KEY)
FIELDS = f"{_KEY}, world_id, version, from_seconds, ended, strength, cause_sequence, account, recorded_at"
SAME = " AND ".join(
    ("world_id IS NOT DISTINCT FROM %(world)s::int", *(f"{each} = %({each})s" for each in KEY))
)
LAST = (
    "SELECT version, from_seconds, ended, strength, cause_sequence FROM memory.concept_relationships"
    f" WHERE {SAME} ORDER BY version DESC LIMIT 1"
)
VERSIONS = f"SELECT {FIELDS} FROM memory.concept_relationships WHERE {SAME} AND version > %(after)s ORDER BY version LIMIT %(count)s"
FORGET = f"DELETE FROM memory.concept_relationships WHERE {SAME}"
INSERT = (
    f"INSERT INTO memory.concept_relationships (world_id, {_KEY}, version, from_seconds, ended, strength, cause_sequence, account)"
    f" VALUES (%(world)s, {', '.join(f'%({each})s' for each in KEY)}, %(version)s, %(from)s, %(ended)s, %(strength)s, %(cause)s,"
    " %(account)s)"
)
# All relations of a world, and those that name the concepts of one of them.
COUNT = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM memory.concept_relationships WHERE world_id IS NOT DISTINCT FROM %(world)s::int AND version = 1{more})"
    for more in (
        "",
        *(
            f" AND {end}_kind = %({of}_kind)s AND {end}_name = %({of}_name)s"
            for of in ("subject", "object")
            for end in ("subject", "object")
        ),
    )
)


def _of_concept(end: str) -> str:
    return (
        "DELETE FROM memory.concept_relationships WHERE world_id IS NOT DISTINCT FROM %(world)s::int"
        f" AND {end}_kind = %(kind)s AND {end}_name = %(name)s"
    )


FORGET_CONCEPT = (_of_concept("subject"), _of_concept("object"))


def _seen(end: str) -> str:
    """Whether the world sees the concept at this end at a time of it. Each part is one look into an index."""
    of = f"concepts.kind = first.{end}_kind AND concepts.name = first.{end}_name"
    return (
        f"(EXISTS (SELECT FROM memory.narrative_concepts AS concepts WHERE concepts.world_id IS NULL AND {of}) OR EXISTS"
        " (SELECT FROM memory.narrative_concepts AS concepts JOIN memory.concept_versions AS held USING (concept_id)"
        f" WHERE concepts.world_id = %(world)s::int AND {of} AND held.version = 1 AND held.from_seconds <= %(seconds)s))"
    )


def _touching(end: str, where: str) -> str:
    """Relations of a world, or of all worlds, whose subject or object is one of the given concepts, as they are at a time of the world.

    The other end must be seen by the world at that time; this one is. OFFSET 0 keeps the order of the joins, also where the
    planner knows nothing of the tables: from a concept to its relations, and from each to its version.
    """
    other = {"subject": "object", "object": "subject"}[end]
    same = " AND ".join(f"versions.{each} = first.{each}" for each in KEY)
    return (
        "SELECT held.* FROM given JOIN LATERAL (SELECT * FROM memory.concept_relationships AS of_concept"
        f" WHERE of_concept.{end}_kind = given.kind AND of_concept.{end}_name = given.name AND of_concept.version = 1"
        f" AND of_concept.world_id {where} OFFSET 0) AS first ON true"
        " JOIN LATERAL (SELECT * FROM memory.concept_relationships AS versions"
        f" WHERE {same} AND versions.world_id {where} AND (versions.world_id IS NULL OR versions.from_seconds <= %(seconds)s)"
        " ORDER BY versions.version DESC LIMIT 1) AS held ON true"
        f" WHERE %(by_{end})s AND (cardinality(%(kinds)s::text[]) = 0 OR first.kind = ANY(%(kinds)s::text[]))"
        f" AND {_seen(other)}"
    )


_ALL = " UNION ALL ".join(
    _touching(end, where)
    for end in ("subject", "object")
    for where in ("= %(world)s::int", "IS NULL")
)
# A world's own relation is read in place of that of all worlds, from its first version on.
STEP = (
    "WITH given AS (SELECT * FROM unnest(%(concept_kinds)s::text[], %(concept_names)s::text[]) AS given (kind, name)),"
    f" held AS (SELECT DISTINCT ON ({_KEY}) * FROM ({_ALL}) AS every ORDER BY {_KEY}, world_id NULLS LAST)"
    f" SELECT {FIELDS} FROM held WHERE (%(ended)s OR NOT ended) ORDER BY strength DESC, {_KEY} LIMIT %(most)s"
)
