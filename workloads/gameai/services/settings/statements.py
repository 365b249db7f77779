"""The statements over settings. `%(world)s` is the world's name."""

from typing import LiteralString

CREATE_HEAD: LiteralString = "INSERT INTO head (world) VALUES (%s) ON CONFLICT DO NOTHING"
# A replica that stands still in its change must not hold up the others of this one for long.
LOCK_TIMEOUT: LiteralString = "SET LOCAL lock_timeout = '2s'"
LOCK_HEAD: LiteralString = "SELECT revision FROM head WHERE world = %s FOR UPDATE"
HEADS: LiteralString = "SELECT world, revision, token::text FROM head WHERE world = ANY(%b::text[])"
# One statement, so that revision and rows are of one moment.
LOAD: LiteralString = """
SELECT head.revision, head.token::text, layer, scope, key, body, entry.revision
FROM head LEFT JOIN entry USING (world) WHERE world = %s
"""
KNOWN: LiteralString = """
SELECT layer, scope, key, body FROM entry WHERE world = %(world)s AND key = ANY(%(keys)b::text[])
"""
_GIVEN: LiteralString = """
unnest(%(layers)b::smallint[], %(scopes)b::text[], %(keys)b::text[], %(befores)b::bytea[], %(afters)b::bytea[])
    AS given (l, s, k, old, new)
"""
WRITE: LiteralString = f"""
INSERT INTO entry (world, layer, scope, key, body, revision)
SELECT %(world)s, l, s, k, new, %(revision)s FROM {_GIVEN} WHERE new IS NOT NULL
ON CONFLICT (world, layer, scope, key) DO UPDATE SET body = EXCLUDED.body, revision = EXCLUDED.revision
"""
DELETE: LiteralString = f"""
DELETE FROM entry USING {_GIVEN}
WHERE new IS NULL AND world = %(world)s AND layer = l AND scope = s COLLATE "C" AND key = k COLLATE "C"
"""
RECORD: LiteralString = f"""
INSERT INTO change (world, revision, layer, scope, key, before)
SELECT %(world)s, %(revision)s, l, s, k, old FROM {_GIVEN}
"""
RECORD_REVISION: LiteralString = """
INSERT INTO revision (world, revision, author, reason, created, world_us, restored, bytes)
VALUES (%(world)s, %(revision)s, %(author)s, %(reason)s, clock_timestamp(), %(world_us)s, %(restored)s, %(bytes)s)
"""
MOVE_HEAD: LiteralString = (
    "UPDATE head SET revision = %(revision)s, token = gen_random_uuid() WHERE world = %(world)s"
)
USE: LiteralString = """
SELECT count(*) FILTER (WHERE layer = 1), count(*) FILTER (WHERE layer <> 1), coalesce(sum(octet_length(body)), 0)::bigint FROM entry WHERE world = %s
"""
# The oldest ones, where there are more than are kept or they are too large together. The newest stays always.
FORGET: LiteralString = """
WITH old AS (
    DELETE FROM revision WHERE world = %(world)s AND revision <= (
        SELECT max(revision) FROM (
            SELECT revision, row_number() OVER newest AS number, sum(bytes) OVER newest AS total
            FROM revision WHERE world = %(world)s WINDOW newest AS (ORDER BY revision DESC)
        ) AS counted WHERE number > 1 AND (number > %(most)s OR total > %(most_bytes)s)
    ) RETURNING revision
)
DELETE FROM change USING old WHERE change.world = %(world)s AND change.revision = old.revision
"""
OLDEST: LiteralString = "SELECT min(revision) FROM revision WHERE world = %s"
# What was at each place that has changed since a revision.
BEFORE: LiteralString = """
SELECT DISTINCT ON (layer, scope, key) layer, scope, key, before
FROM change WHERE world = %(world)s AND revision > %(revision)s ORDER BY layer, scope, key, revision
"""
PRESENT: LiteralString = "SELECT layer, scope, key, body FROM entry WHERE world = %s"
REVISIONS: LiteralString = """
SELECT revision, author, reason, (extract(epoch FROM created) * 1000000)::bigint AS created_us, world_us, restored,
    (SELECT count(*) FROM change WHERE change.world = found.world AND change.revision = found.revision) AS changed,
    ARRAY(
        SELECT DISTINCT key FROM change WHERE change.world = found.world AND change.revision = found.revision
        ORDER BY key LIMIT %(keys)s
    ) AS keys
FROM (
    SELECT * FROM revision WHERE world = %(world)s AND (%(before)s = 0 OR revision < %(before)s)
    ORDER BY revision DESC LIMIT %(count)s
) AS found ORDER BY revision DESC
"""
OF_PLAYER: LiteralString = "SELECT key, body FROM player WHERE world = %s AND player = %s"
LOCK_PLAYER: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
WRITE_PLAYER: LiteralString = """
INSERT INTO player (world, player, key, body)
SELECT %(world)s, %(player)s, k, b FROM unnest(%(keys)b::text[], %(bodies)b::bytea[]) AS given (k, b)
ON CONFLICT (world, player, key) DO UPDATE SET body = EXCLUDED.body
"""
DELETE_OF_PLAYER: LiteralString = """
DELETE FROM player WHERE world = %(world)s AND player = %(player)s AND key = ANY(%(keys)b::text[])
"""
USE_OF_PLAYER: LiteralString = """
SELECT coalesce(sum(octet_length(body) + octet_length(key)), 0)::bigint FROM player WHERE world = %s AND player = %s
"""
DELETE_PLAYER: LiteralString = "DELETE FROM player WHERE world = %s AND player = %s"
