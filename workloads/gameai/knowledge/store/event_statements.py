"""PURE: the function of the database that searches the events of a world: by meaning and by words, over the rows of this world alone."""

from gameai.knowledge.store.statements import DEEP, FUSION, WORDS

FIELDS = (
    "sequence, key, world_seconds, kind, summary, participants, evidence, confidence, importance, account, recorded_at, status,"
    " reasons"
)
_COLUMNS = (
    "score float8, distance float8, sequence bigint, key text, world_seconds bigint, kind text, summary text,"
    " participants text[], evidence text, confidence smallint, importance smallint, account text, recorded_at timestamptz,"
    " status text, reasons text[]"
)
# A release that changes it makes another one with a higher number, for the pods of both.
NAME = "memory.search_events_1"
# Parameters: world, vector, confidence, text, first and last second, count. Text and count stand where they do in searches of chunks.
_PARAMETERS = "int, halfvec, int, text, bigint, bigint, int"
_FILTER = (
    "world_id = $1 AND status = 'live' AND confidence >= $3 AND world_seconds BETWEEN $5 AND $6"
)
_NEAR = (
    "meaning AS (SELECT sequence, distance, row_number() OVER (ORDER BY distance, sequence DESC) AS place FROM"
    f" (SELECT sequence, embedding <=> $2 AS distance FROM memory.story_events WHERE {_FILTER} AND $2 IS NOT NULL"
    f" ORDER BY distance, sequence DESC LIMIT {DEEP}) AS near_rows)"
)
_SPELLED = (
    "spelling AS (SELECT sequence, row_number() OVER (ORDER BY rank DESC, sequence DESC) AS place FROM"
    " (SELECT sequence, ts_rank(tsv, words.query) AS rank FROM memory.story_events, words"
    f" WHERE {_FILTER} AND tsv @@ words.query ORDER BY rank DESC, sequence DESC LIMIT {DEEP}) AS word_rows)"
)
_RANKED = (
    "ranked AS (SELECT sequence, sum(score) AS score, min(distance) AS distance FROM"
    f" (SELECT sequence, 1.0 / ({FUSION} + place) AS score, distance FROM meaning"
    f" UNION ALL SELECT sequence, 1.0 / ({FUSION} + place), NULL FROM spelling) AS both_lists"
    " GROUP BY sequence ORDER BY score DESC, sequence DESC LIMIT $7)"
)
FUNCTION = (
    f"CREATE OR REPLACE FUNCTION {NAME}({_PARAMETERS}) RETURNS TABLE ({_COLUMNS})"
    " LANGUAGE plpgsql AS $function$ #variable_conflict use_column\nBEGIN"
    " PERFORM set_config('memory.world', $1::text, true);"
    f" RETURN QUERY WITH {WORDS}, {_NEAR}, {_SPELLED}, {_RANKED}"
    f" SELECT score::float8, distance::float8, {FIELDS} FROM ranked JOIN memory.story_events USING (sequence)"
    " WHERE world_id = $1 ORDER BY score DESC, sequence DESC; END $function$"
)
SEARCH = (
    f"SELECT * FROM {NAME}(%(world)s::int, %(vector)b::halfvec, %(confidence)s::int, %(text)s::text,"
    " %(from)s::bigint, %(until)s::bigint, %(count)s::int)"
)
