"""PURE: the function of the database that searches concepts: of a world, and of all worlds where the world has none of the same name."""

from gameai.knowledge.store.statements import DEEP, FUSION, WORDS

FIELDS = "kind, name, world_id, version, summary, attributes, from_seconds, cause_sequence, account, recorded_at"
_COLUMNS = (
    "score float8, distance float8, kind text, name text, world_id int, version int, summary text, attributes jsonb,"
    " from_seconds bigint, cause_sequence bigint, account text, recorded_at timestamptz"
)
# A release that changes it makes another one with a higher number, for the pods of both.
NAME = "memory.search_concepts_1"
# Parameters: world, vector, time, text, kinds, unused, count. Text and count stand where they do in searches of chunks.
_PARAMETERS = "int, halfvec, bigint, text, text[], int, int"


def visible(more: str) -> str:
    """The concepts that a world sees at a time of it ($3), each in one version; `more` conditions are about `concepts`.

    A world's own come first among those of one kind and name.
    """
    return (
        f"SELECT DISTINCT ON (kind, name) concepts.concept_id, concepts.kind, concepts.name, concepts.world_id, held.version,"
        " held.summary, held.attributes, held.from_seconds, held.cause_sequence, held.account, held.recorded_at, held.tsv,"
        " held.embedding FROM memory.narrative_concepts AS concepts JOIN LATERAL (SELECT * FROM memory.concept_versions AS versions"
        " WHERE versions.concept_id = concepts.concept_id AND (versions.world_id IS NULL OR versions.from_seconds <= $3) ORDER BY versions.version DESC LIMIT 1)"
        f" AS held ON true WHERE (concepts.world_id = $1 OR concepts.world_id IS NULL) AND {more}"
        " ORDER BY kind, name, concepts.world_id NULLS LAST"
    )


_KINDS = "($5 = '{}' OR concepts.kind = ANY($5))"
_NEAR = (
    "meaning AS (SELECT concept_id, distance, row_number() OVER (ORDER BY distance, concept_id) AS place FROM"
    " (SELECT concept_id, embedding <=> $2 AS distance FROM seen WHERE $2 IS NOT NULL"
    f" ORDER BY distance, concept_id LIMIT {DEEP}) AS near_rows)"
)
_SPELLED = (
    "spelling AS (SELECT concept_id, row_number() OVER (ORDER BY rank DESC, concept_id) AS place FROM"
    " (SELECT concept_id, ts_rank(tsv, words.query) AS rank FROM seen, words"
    f" WHERE tsv @@ words.query ORDER BY rank DESC, concept_id LIMIT {DEEP}) AS word_rows)"
)
_RANKED = (
    "ranked AS (SELECT concept_id, sum(score) AS score, min(distance) AS distance FROM"
    f" (SELECT concept_id, 1.0 / ({FUSION} + place) AS score, distance FROM meaning"
    f" UNION ALL SELECT concept_id, 1.0 / ({FUSION} + place), NULL FROM spelling) AS both_lists"
    " GROUP BY concept_id ORDER BY score DESC, concept_id LIMIT $7)"
)
FUNCTION = (
    f"CREATE OR REPLACE FUNCTION {NAME}({_PARAMETERS}) RETURNS TABLE ({_COLUMNS})"
    " LANGUAGE plpgsql AS $function$ #variable_conflict use_column\nBEGIN"
    " PERFORM set_config('memory.world', coalesce($1::text, ''), true);"
    f" RETURN QUERY WITH {WORDS}, seen AS MATERIALIZED ({visible(_KINDS)}), {_NEAR}, {_SPELLED}, {_RANKED}"
    f" SELECT score::float8, distance::float8, {FIELDS} FROM ranked JOIN seen USING (concept_id)"
    " ORDER BY score DESC, concept_id; END $function$"
)
SEARCH = (
    f"SELECT * FROM {NAME}(%(world)s::int, %(vector)b::halfvec, %(time)s::bigint, %(text)s::text,"
    " %(kinds)s::text[], 0, %(count)s::int)"
)
