"""The table of objects. Its statements may run at each start."""

from typing import LiteralString

TABLES: tuple[LiteralString, ...] = (
    "CREATE SEQUENCE IF NOT EXISTS object_version",
    # Keys in the order of their bytes, so that a prefix is a range of the primary key.
    """
CREATE TABLE IF NOT EXISTS object (
    world text NOT NULL,
    collection text NOT NULL,
    key text COLLATE "C" NOT NULL,
    owner text NOT NULL,
    value bytea NOT NULL,
    type text NOT NULL,
    version bigint NOT NULL DEFAULT nextval('object_version'),
    written_world_us bigint NOT NULL,
    PRIMARY KEY (world, collection, key)
) WITH (fillfactor = 80)
""",
    "CREATE INDEX IF NOT EXISTS object_owner ON object (world, owner, collection, key) WHERE owner <> ''",
)
