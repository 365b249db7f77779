"""PURE: the tables of the kit, in the schema of the service. Their statements may run at each start."""

from typing import LiteralString

from gameai.client.inbox import CREATE_TABLE as INBOX

# Who has them: two services in one schema would publish each other's events. `digest` is that of the statements that were
# run: they lock tables, also where there is nothing to create.
SERVICE: LiteralString = """
CREATE TABLE IF NOT EXISTS gameai_service (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    name text NOT NULL,
    digest text NOT NULL DEFAULT ''
)
"""
# Mutations that were answered. `answer` is a google.protobuf.Any.
REQUESTS: tuple[LiteralString, ...] = (
    """
CREATE TABLE IF NOT EXISTS gameai_request (
    world text NOT NULL,
    request_id uuid NOT NULL,
    digest bytea NOT NULL,
    answer bytea NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (world, request_id)
)
""",
    "CREATE INDEX IF NOT EXISTS gameai_request_answered_at ON gameai_request (answered_at)",
)
# Events that have no number yet.
OUTBOX: tuple[LiteralString, ...] = (
    """
CREATE TABLE IF NOT EXISTS gameai_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    world text NOT NULL,
    type integer NOT NULL,
    schema integer NOT NULL,
    at_us bigint NOT NULL,
    world_us bigint NOT NULL,
    body bytea NOT NULL
)
""",
    "CREATE INDEX IF NOT EXISTS gameai_outbox_world ON gameai_outbox (world, id)",
)
# Where the events of a world are in the stream, and in which subject: of a world that moved to another set it is another.
STREAMS: LiteralString = """
CREATE TABLE IF NOT EXISTS gameai_outbox_stream (
    world text PRIMARY KEY,
    subject text NOT NULL,
    last_stored bigint NOT NULL
)
"""
# Batches as they are published, but for the world. Those that the broker has stored stay for a while: it may lose its last.
BATCHES: tuple[LiteralString, ...] = (
    """
CREATE TABLE IF NOT EXISTS gameai_outbox_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    world text NOT NULL,
    payload bytea NOT NULL,
    numbered_at timestamptz NOT NULL DEFAULT now(),
    stored_at timestamptz,
    stored_sequence bigint,
    losses integer NOT NULL DEFAULT 0
)
""",
    "CREATE INDEX IF NOT EXISTS gameai_outbox_batch_waiting ON gameai_outbox_batch (world, id) WHERE stored_at IS NULL",
    "CREATE INDEX IF NOT EXISTS gameai_outbox_batch_stored ON gameai_outbox_batch (stored_at) WHERE stored_at IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS gameai_outbox_batch_of ON gameai_outbox_batch (world, stored_sequence) WHERE stored_at IS NOT NULL",
)
TABLES: tuple[LiteralString, ...] = (*REQUESTS, INBOX, *OUTBOX, STREAMS, *BATCHES)
