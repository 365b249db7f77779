-- Schema 0001. The word in capitals in halfvec(…) is replaced by the dimensions of the embedding model.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA memory;
SET LOCAL search_path = memory, public;

CREATE TABLE worlds (
    world_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 3 AND 127)
);

CREATE SEQUENCE chunk_seq;
CREATE TABLE narrative_documents (
    chunk_id bigint NOT NULL DEFAULT nextval('memory.chunk_seq'),
    scope text NOT NULL CHECK (scope IN ('global', 'world')),
    world_id int REFERENCES worlds ON DELETE CASCADE,
    source text NOT NULL,
    document text NOT NULL,
    chunk_no int NOT NULL,
    title text NOT NULL,
    section text NOT NULL,
    content text NOT NULL,
    tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', title || E'\n' || section || E'\n' || content)) STORED,
    content_sha256 bytea NOT NULL,
    document_sha256 bytea NOT NULL,
    begin_byte int NOT NULL,
    end_byte int NOT NULL,
    trust smallint NOT NULL CHECK (trust BETWEEN 0 AND 100),
    status text NOT NULL CHECK (status IN ('live', 'quarantined', 'rejected')),
    reasons text[] NOT NULL DEFAULT '{}',
    audience text[] NOT NULL DEFAULT '{}',
    model text NOT NULL,
    embedding halfvec(DIMENSIONS) NOT NULL,
    CHECK ((scope = 'global') = (world_id IS NULL)),
    -- What players or world services write has less trust, so it can never be lore of all worlds.
    CHECK (scope = 'world' OR trust >= 80),
    PRIMARY KEY (scope, chunk_id)
) PARTITION BY LIST (scope);
CREATE TABLE narrative_documents_g PARTITION OF narrative_documents FOR VALUES IN ('global');
CREATE TABLE narrative_documents_w PARTITION OF narrative_documents FOR VALUES IN ('world');
-- The vector stays in the row and the text moves out: an exact scan reads the vectors of a whole world.
ALTER TABLE narrative_documents_g ALTER embedding SET STORAGE PLAIN;
ALTER TABLE narrative_documents_w ALTER embedding SET STORAGE PLAIN;
CREATE INDEX narrative_documents_g_embedding ON narrative_documents_g
    USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64) WHERE status = 'live';
-- Rows of worlds are searched exactly: no HNSW over them.
CREATE INDEX narrative_documents_w_world ON narrative_documents_w (world_id) WHERE status = 'live';
-- Row-level security lets no index of words serve the rows of worlds.
CREATE INDEX narrative_documents_g_tsv ON narrative_documents_g USING gin (tsv);
CREATE INDEX narrative_documents_hash ON narrative_documents (source, content_sha256);
CREATE UNIQUE INDEX narrative_documents_once
    ON narrative_documents (scope, world_id, source, document, chunk_no) NULLS NOT DISTINCT;

-- The second wall: rows of a world are visible only in a transaction that has set memory.world to it.
ALTER TABLE narrative_documents_w ENABLE ROW LEVEL SECURITY;
ALTER TABLE narrative_documents_w FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON narrative_documents_w
    USING (world_id = nullif(current_setting('memory.world', true), '')::int);
-- By way of the parent no row of a world is visible or written without the same.
ALTER TABLE narrative_documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE narrative_documents FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_world ON narrative_documents
    USING (scope = 'global' OR world_id = nullif(current_setting('memory.world', true), '')::int);
-- Of the processes.
CREATE TABLE memory_ops.facts (key text PRIMARY KEY, value text NOT NULL);
INSERT INTO memory_ops.facts VALUES ('dimensions', 'DIMENSIONS');
CREATE TABLE memory_ops.sources (
    name text NOT NULL,
    world_id int REFERENCES memory.worlds ON DELETE CASCADE,
    digest bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('Ingesting', 'Ingested', 'Failed')),
    message text NOT NULL DEFAULT '',
    UNIQUE NULLS NOT DISTINCT (name, world_id)
);
-- A review holds for the same text wherever it comes again from the same source.
CREATE TABLE memory_ops.reviews (
    source text NOT NULL,
    world_id int REFERENCES memory.worlds ON DELETE CASCADE,
    content_sha256 bytea NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('live', 'rejected')),
    reviewer text NOT NULL,
    reviewed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (source, world_id, content_sha256)
);
