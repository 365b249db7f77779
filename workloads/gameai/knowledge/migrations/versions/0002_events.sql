-- Schema 0002: the history of worlds as events. Adds only: pods of the former release read what they know.
ALTER TABLE memory.worlds
    ADD COLUMN events int NOT NULL DEFAULT 0 CHECK (events >= 0),
    ADD COLUMN last_sequence bigint NOT NULL DEFAULT 0;

CREATE TABLE memory.story_events (
    world_id int NOT NULL REFERENCES memory.worlds ON DELETE CASCADE,
    -- In the order in which transactions end, so that a reader who continues from the last one misses none.
    sequence bigint NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 64),
    -- Of the event as it is stored: a key that comes again must come with the same event.
    digest bytea NOT NULL,
    world_seconds bigint NOT NULL,
    kind text NOT NULL,
    summary text NOT NULL,
    participants text[] NOT NULL,
    evidence text NOT NULL CHECK (evidence IN ('witnessed', 'reported', 'rumour', 'system')),
    confidence smallint NOT NULL CHECK (confidence BETWEEN 0 AND 100),
    importance smallint NOT NULL CHECK (importance BETWEEN 0 AND 100),
    account text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    status text NOT NULL CHECK (status IN ('live', 'quarantined', 'rejected')),
    reasons text[] NOT NULL,
    reviewer text NOT NULL DEFAULT '',
    reviewed_at timestamptz,
    tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', summary)) STORED,
    model text NOT NULL,
    embedding halfvec(DIMENSIONS) NOT NULL,
    PRIMARY KEY (world_id, sequence),
    UNIQUE (world_id, key)
);
ALTER TABLE memory.story_events ALTER embedding SET STORAGE PLAIN;
-- No more indexes: row-level security lets no index of words or names serve, and a search compares all events of a world.

ALTER TABLE memory.story_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory.story_events FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON memory.story_events
    USING (world_id = nullif(current_setting('memory.world', true), '')::int);
