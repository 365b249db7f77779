"""PURE: the statements of the relay."""

from typing import LiteralString

# The lock of an outbox: the table, of which a database may have one in each schema, and whose events are published.
LOCK: LiteralString = "SELECT pg_try_advisory_lock('gameai_outbox'::regclass::oid::bigint::bit(32)::integer, hashtext(%s))"
# Of these worlds, and nothing while so many batches of theirs wait: what is numbered has no limit.
TAKE: LiteralString = """
SELECT id, world, type, schema, at_us, world_us, body FROM gameai_outbox
WHERE world = ANY(%(worlds)s) AND (
    SELECT count(*) FROM (
        SELECT FROM gameai_outbox_batch WHERE stored_at IS NULL AND world = ANY(%(worlds)s) LIMIT %(batches)s
    ) AS waiting
) < %(batches)s
ORDER BY id LIMIT %(rows)s
"""
TAKEN: LiteralString = "DELETE FROM gameai_outbox WHERE id = ANY(%s)"
SAVE_BATCHES: LiteralString = """
INSERT INTO gameai_outbox_batch (world, payload)
SELECT world, payload FROM unnest(%s::text[], %s::bytea[]) WITH ORDINALITY AS batch (world, payload, place) ORDER BY place
"""
WAITING: LiteralString = """
SELECT batch.id, batch.world, batch.payload, coalesce(stream.subject, '') AS subject, coalesce(stream.last_stored, 0) AS last_stored
FROM gameai_outbox_batch AS batch LEFT JOIN gameai_outbox_stream AS stream USING (world)
WHERE batch.stored_at IS NULL AND batch.world = ANY(%s)
ORDER BY batch.id LIMIT %s
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
UPDATE gameai_outbox_batch SET stored_at = NULL, stored_sequence = NULL WHERE world = %s AND stored_sequence > %s
"""
RETAINED: LiteralString = """
SELECT world, subject, last_stored FROM gameai_outbox_stream AS stream
WHERE world = ANY(%s) AND EXISTS (SELECT FROM gameai_outbox_batch AS batch WHERE batch.world = stream.world AND batch.stored_at IS NOT NULL)
"""
FORGET_STORED: LiteralString = """
DELETE FROM gameai_outbox_batch WHERE stored_at < now() - make_interval(mins => %s)
"""
