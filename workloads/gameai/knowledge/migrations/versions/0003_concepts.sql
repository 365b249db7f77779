-- Schema 0003: concepts and their versions. Adds only: pods of the former release read what they know.
CREATE TABLE memory.narrative_concepts (
    concept_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL: of all worlds. A world's concept of the same kind and name is read in its place, in that world.
    world_id int REFERENCES memory.worlds ON DELETE CASCADE,
    kind text NOT NULL,
    name text NOT NULL,
    current_version int NOT NULL CHECK (current_version > 0),
    UNIQUE NULLS NOT DISTINCT (world_id, kind, name)
);
CREATE TABLE memory.concept_versions (
    concept_id bigint NOT NULL REFERENCES memory.narrative_concepts ON DELETE CASCADE,
    version int NOT NULL CHECK (version > 0),
    world_id int REFERENCES memory.worlds ON DELETE CASCADE,
    -- World time from which it holds, until that of the next version; recorded_at is when it was written.
    from_seconds bigint NOT NULL,
    summary text NOT NULL,
    attributes jsonb NOT NULL,
    -- Of the version as it is stored, so that a call that is repeated is recognised.
    digest bytea NOT NULL,
    cause_sequence bigint NOT NULL DEFAULT 0,
    account text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    tsv tsvector NOT NULL,
    model text NOT NULL,
    embedding halfvec(DIMENSIONS) NOT NULL,
    PRIMARY KEY (concept_id, version)
);
ALTER TABLE memory.concept_versions ALTER embedding SET STORAGE PLAIN;

ALTER TABLE memory.narrative_concepts ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory.narrative_concepts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON memory.narrative_concepts
    USING (world_id IS NULL OR world_id = nullif(current_setting('memory.world', true), '')::int);
ALTER TABLE memory.concept_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory.concept_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON memory.concept_versions
    USING (world_id IS NULL OR world_id = nullif(current_setting('memory.world', true), '')::int);
