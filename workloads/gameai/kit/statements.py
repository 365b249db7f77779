"""PURE: the statements of the relay. Of each world they take a bounded part, so that none of them fills a round."""

from typing import LiteralString

# The lock of an outbox: the table, of which a database may have one in each schema, and whose events are published.
LOCK: LiteralString = (
    "SELECT pg_try_advisory_lock(hashtextextended('gameai_outbox'::regclass::oid || '/' || %s, 0))"
)
# Whether there is anything to do for these worlds.
LOOK: LiteralString = """
SELECT EXISTS (SELECT FROM gameai_outbox WHERE world = ANY(%(worlds)s))
    OR EXISTS (SELECT FROM gameai_outbox_batch WHERE world = ANY(%(worlds)s) AND stored_at IS NULL)
"""
# Nothing of a world while so many of its batches wait: what is numbered has no other limit.
TAKE: LiteralString = """
SELECT id, world, type, schema, at_us, world_us, body FROM (
    SELECT taken.*, sum(size) OVER (ORDER BY id) - size AS before
    FROM unnest(%(worlds)s::text[]) AS named (name) CROSS JOIN LATERAL (
        SELECT *, octet_length(body) AS size, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS own
        FROM (SELECT * FROM gameai_outbox WHERE world = name ORDER BY id LIMIT %(rows)s) AS first
    ) AS taken
    WHERE own < %(own)s AND (
        SELECT count(*) FROM (
            SELECT FROM gameai_outbox_batch WHERE world = name AND stored_at IS NULL LIMIT %(batches)s
        ) AS waiting
    ) < %(batches)s
) AS counted WHERE before < %(all)s ORDER BY id
"""
TAKEN: LiteralString = "DELETE FROM gameai_outbox WHERE id = ANY(%s)"
SAVE_BATCHES: LiteralString = """
INSERT INTO gameai_outbox_batch (world, payload)
SELECT world, payload FROM unnest(%s::text[], %b::bytea[]) WITH ORDINALITY AS batch (world, payload, place) ORDER BY place
"""
WAITING: LiteralString = """
SELECT id, world, payload, losses, subject, last_stored FROM (
    SELECT taken.*, coalesce(stream.subject, '') AS subject, coalesce(stream.last_stored, 0) AS last_stored,
        sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS before
    FROM unnest(%(worlds)s::text[]) AS named (name) CROSS JOIN LATERAL (
        SELECT * FROM gameai_outbox_batch WHERE world = name AND stored_at IS NULL ORDER BY id LIMIT %(batches)s
    ) AS taken LEFT JOIN gameai_outbox_stream AS stream ON stream.world = name
) AS counted WHERE before < %(all)s ORDER BY id
"""
MARK_STORED: LiteralString = """
UPDATE gameai_outbox_batch AS batch SET stored_at = now(), stored_sequence = found.sequence
FROM unnest(%s::bigint[], %s::bigint[]) AS found (id, sequence) WHERE batch.id = found.id
"""
MARK_STREAMS: LiteralString = """
INSERT INTO gameai_outbox_stream (world, subject, last_stored)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])
ON CONFLICT (world) DO UPDATE SET subject = EXCLUDED.subject, last_stored = EXCLUDED.last_stored
"""
LOST: LiteralString = """
UPDATE gameai_outbox_batch SET stored_at = NULL, stored_sequence = NULL, losses = losses + 1
WHERE world = %s AND stored_at IS NOT NULL AND stored_sequence > %s
"""
# Worlds of which something was stored lately.
RETAINED: LiteralString = """
SELECT world FROM gameai_outbox_stream AS stream
WHERE world = ANY(%s) AND EXISTS (
    SELECT FROM gameai_outbox_batch AS batch WHERE batch.world = stream.world AND batch.stored_at IS NOT NULL
)
"""
STREAMS_OF: LiteralString = (
    "SELECT world, subject, last_stored FROM gameai_outbox_stream WHERE world = ANY(%s)"
)
FORGET_STORED: LiteralString = """
DELETE FROM gameai_outbox_batch WHERE id = ANY(ARRAY(
    SELECT id FROM gameai_outbox_batch WHERE stored_at < now() - make_interval(mins => %s) LIMIT %s
))
"""
# Events that have no number, up to a limit, and the age in seconds of the oldest that is not stored.
MEASURE: LiteralString = """
SELECT (SELECT count(*) FROM (SELECT FROM gameai_outbox WHERE world = ANY(%(worlds)s) LIMIT %(most)s) AS waiting),
    greatest(
        extract(epoch FROM now()) - (SELECT min(at_us) FROM (
            SELECT first.at_us FROM unnest(%(worlds)s::text[]) AS named (name) CROSS JOIN LATERAL (
                SELECT at_us FROM gameai_outbox WHERE world = name ORDER BY id LIMIT 1
            ) AS first
        ) AS oldest) / 1e6,
        extract(epoch FROM now() - (
            SELECT min(numbered_at) FROM gameai_outbox_batch WHERE world = ANY(%(worlds)s) AND stored_at IS NULL
        )),
        0
    )::double precision
"""
