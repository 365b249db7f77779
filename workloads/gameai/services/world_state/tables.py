"""The tables of world-state. Their statements may run at each start."""

from typing import LiteralString

TABLES: tuple[LiteralString, ...] = (
    # The present revision of a world, with tokens that are drawn at each change, and at each change of a rule: a restored database
    # comes to the same numbers with other values. Its row is locked by each change, so that changes are one after the other.
    """
CREATE TABLE IF NOT EXISTS head (
    world text PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0,
    rules uuid NOT NULL DEFAULT gen_random_uuid(),
    token uuid NOT NULL DEFAULT gen_random_uuid()
)
""",
    # `base` is the value before the first change, since a world time.
    """
CREATE TABLE IF NOT EXISTS rule (
    world text NOT NULL,
    name text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    base bigint NOT NULL,
    base_us bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (world, name)
)
""",
    # Facts that were changed. `changes` counts them. An index of revisions would be written with each change.
    """
CREATE TABLE IF NOT EXISTS fact (
    world text NOT NULL,
    name text COLLATE "C" NOT NULL,
    region text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    at_us bigint NOT NULL,
    revision bigint NOT NULL,
    cause text NOT NULL,
    changes bigint NOT NULL,
    PRIMARY KEY (world, name, region)
) WITH (fillfactor = 70)
""",
    # The last changes of a fact: a new one takes the place (slot) of the oldest.
    """
CREATE TABLE IF NOT EXISTS change (
    world text NOT NULL,
    name text COLLATE "C" NOT NULL,
    region text COLLATE "C" NOT NULL,
    slot smallint NOT NULL,
    revision bigint NOT NULL,
    value bigint NOT NULL,
    previous bigint NOT NULL,
    world_us bigint NOT NULL,
    created timestamptz NOT NULL,
    cause text NOT NULL,
    PRIMARY KEY (world, name, region, slot)
) WITH (fillfactor = 70)
""",
)
