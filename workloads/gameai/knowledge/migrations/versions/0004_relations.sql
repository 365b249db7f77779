-- Schema 0004: relations between concepts. Adds only: pods of the former release read what they know.
-- Concepts are named, not numbered: a world's own concept takes the place of the shared one in relations too.
CREATE TABLE memory.concept_relationships (
    -- NULL: of all worlds. A world's relation of the same kind between the same concepts is read in its place, in that world.
    world_id int REFERENCES memory.worlds ON DELETE CASCADE,
    subject_kind text NOT NULL,
    subject_name text NOT NULL,
    kind text NOT NULL,
    object_kind text NOT NULL,
    object_name text NOT NULL,
    version int NOT NULL CHECK (version > 0),
    -- World time from which it is so, until that of the next version; recorded_at is when it was written.
    from_seconds bigint NOT NULL,
    ended boolean NOT NULL,
    strength smallint NOT NULL CHECK (strength BETWEEN 1 AND 100),
    cause_sequence bigint NOT NULL DEFAULT 0,
    account text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (subject_kind, subject_name, world_id, kind, object_kind, object_name, version)
);
-- One row for each relation: what a walk and the limits look at.
CREATE INDEX ON memory.concept_relationships (subject_kind, subject_name, world_id) WHERE version = 1;
CREATE INDEX ON memory.concept_relationships (object_kind, object_name, world_id) WHERE version = 1;
CREATE INDEX ON memory.concept_relationships (world_id) WHERE version = 1;

ALTER TABLE memory.concept_relationships ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory.concept_relationships FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON memory.concept_relationships
    USING (world_id IS NULL OR world_id = nullif(current_setting('memory.world', true), '')::int);
