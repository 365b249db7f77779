"""The tables of settings. Their statements may run at each start."""

from typing import LiteralString

TABLES: tuple[LiteralString, ...] = (
    # The present revision of a world, with a token that is drawn at each change: a restored database comes to the same numbers with
    # other values. Its row is locked by each change, so that changes are one after the other.
    """
CREATE TABLE IF NOT EXISTS head (
    world text PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0,
    token uuid NOT NULL DEFAULT gen_random_uuid()
)
""",
    # What is there now: declarations (layer 1) and values. Regions and keys in the order of their bytes.
    """
CREATE TABLE IF NOT EXISTS entry (
    world text NOT NULL,
    layer smallint NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (world, layer, scope, key)
)
""",
    "CREATE INDEX IF NOT EXISTS entry_key ON entry (world, key)",
    """
CREATE TABLE IF NOT EXISTS revision (
    world text NOT NULL,
    revision bigint NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    created timestamptz NOT NULL,
    world_us bigint NOT NULL,
    restored bigint,
    bytes bigint NOT NULL,
    PRIMARY KEY (world, revision)
)
""",
    """
CREATE TABLE IF NOT EXISTS change (
    world text NOT NULL,
    revision bigint NOT NULL,
    layer smallint NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    before bytea,
    PRIMARY KEY (world, revision, layer, scope, key)
)
""",
    """
CREATE TABLE IF NOT EXISTS player (
    world text NOT NULL,
    player text NOT NULL,
    key text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (world, player, key)
)
""",
)
