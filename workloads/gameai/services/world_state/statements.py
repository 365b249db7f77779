"""The statements over facts. `%(world)s` is the world's name."""

from typing import LiteralString

# Several statements that see the same.
ONE_MOMENT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# A replica that stands still in its change must not hold up the others of this one for long. Rows are locked when they are
# complete, so that the time applies to this statement already.
LOCK_HEAD: LiteralString = """
SELECT revision, rules::text FROM head, (SELECT set_config('lock_timeout', '2s', true) OFFSET 0) AS limited WHERE world = %s FOR UPDATE OF head
"""
LOCK_TIMEOUT: LiteralString = "SET LOCAL lock_timeout = '2s'"
CREATE_HEAD: LiteralString = "INSERT INTO head (world) VALUES (%s) ON CONFLICT DO NOTHING"
HEADS: LiteralString = "SELECT world, revision, token::text FROM head WHERE world = ANY(%b::text[])"
HEAD: LiteralString = "SELECT revision, token::text, rules::text FROM head WHERE world = %s"
PRESENT_RULES: LiteralString = "SELECT rules::text FROM head WHERE world = %s"
RULES: LiteralString = "SELECT body, base, base_us, revision FROM rule WHERE world = %s"
CHANGED: LiteralString = """
SELECT name, region, value, at_us, revision, cause FROM fact WHERE world = %s AND revision > %s
"""
KNOWN: LiteralString = """
SELECT fact.name, fact.region, value, at_us, revision, cause
FROM fact JOIN unnest(%(names)b::text[], %(regions)b::text[]) AS given (n, r) ON name = n COLLATE "C" AND region = r COLLATE "C"
WHERE world = %(world)s
"""
OF_FACTS: LiteralString = """
SELECT name, region, value, at_us, revision, cause FROM fact WHERE world = %(world)s AND name = ANY(%(names)b::text[])
"""
# The new values, their changes, and the head, in one turn to the database.
WRITE: LiteralString = """
WITH given AS (
    SELECT * FROM unnest(
        %(names)b::text[], %(regions)b::text[], %(values)b::bigint[], %(dates)b::bigint[], %(previous)b::bigint[], %(causes)b::text[]
    ) AS given (n, r, value, at_us, previous, cause)
), moved AS (
    UPDATE head SET revision = %(revision)s, token = gen_random_uuid() WHERE world = %(world)s
), written AS (
    INSERT INTO fact (world, name, region, value, at_us, revision, cause, changes)
    SELECT %(world)s, n, r, value, at_us, %(revision)s, cause, 1 FROM given
    ON CONFLICT (world, name, region) DO UPDATE SET value = EXCLUDED.value, at_us = EXCLUDED.at_us,
        revision = EXCLUDED.revision, cause = EXCLUDED.cause, changes = fact.changes + 1
    RETURNING name, region, changes
)
INSERT INTO change (world, name, region, slot, revision, value, previous, world_us, created, cause)
SELECT %(world)s, n, r, changes %% %(kept)s, %(revision)s, value, previous, %(world_us)s, clock_timestamp(), cause
FROM written JOIN given ON name = n COLLATE "C" AND region = r COLLATE "C"
ON CONFLICT (world, name, region, slot) DO UPDATE SET revision = EXCLUDED.revision, value = EXCLUDED.value,
    previous = EXCLUDED.previous, world_us = EXCLUDED.world_us, created = EXCLUDED.created, cause = EXCLUDED.cause
"""
WRITE_RULES: LiteralString = """
INSERT INTO rule (world, name, body, base, base_us, revision)
SELECT %(world)s, n, body, base, base_us, %(revision)s
FROM unnest(%(names)b::text[], %(bodies)b::bytea[], %(bases)b::bigint[], %(dates)b::bigint[]) AS given (n, body, base, base_us)
ON CONFLICT (world, name) DO UPDATE SET body = EXCLUDED.body, base = EXCLUDED.base, base_us = EXCLUDED.base_us, revision = EXCLUDED.revision
"""
MOVE_VALUES: LiteralString = """
UPDATE fact SET value = given.value, at_us = given.at_us, revision = %(revision)s
FROM unnest(%(names)b::text[], %(regions)b::text[], %(values)b::bigint[], %(dates)b::bigint[]) AS given (n, r, value, at_us)
WHERE world = %(world)s AND name = n COLLATE "C" AND region = r COLLATE "C"
"""
REMOVE: tuple[LiteralString, ...] = (
    "DELETE FROM rule WHERE world = %(world)s AND name = ANY(%(names)b::text[])",
    "DELETE FROM fact WHERE world = %(world)s AND name = ANY(%(names)b::text[])",
    "DELETE FROM change WHERE world = %(world)s AND name = ANY(%(names)b::text[])",
)
MOVE_HEAD: LiteralString = """
UPDATE head SET revision = %(revision)s, rules = gen_random_uuid(), token = gen_random_uuid() WHERE world = %(world)s
"""
CHANGES: LiteralString = """
SELECT revision, value, previous, world_us, (extract(epoch FROM created) * 1000000)::bigint AS created_us, cause
FROM change WHERE world = %(world)s AND name = %(name)s AND region = %(region)s ORDER BY revision DESC
"""
