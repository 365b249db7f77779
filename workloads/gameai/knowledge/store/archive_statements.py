"""PURE: statements that read what an archive holds, and write it."""

from gameai.knowledge.store.relation_statements import KEY, SAME

EVENT_COLUMNS = (
    "sequence, key, digest, world_seconds, kind, summary, participants, evidence, confidence, importance, account, recorded_at,"
    " status, reasons, reviewer, reviewed_at, model, embedding"
)
EVENT = (
    f"INSERT INTO memory.story_events (world_id, {EVENT_COLUMNS}) VALUES (%(world)s, "
    + ", ".join(f"%({each.strip()})s" for each in EVENT_COLUMNS.split(","))
    + ") ON CONFLICT (world_id, key) DO NOTHING"
)
KNOWN_EVENTS = (
    "SELECT key FROM memory.story_events WHERE world_id = %(world)s AND key = ANY(%(keys)s)"
)
KNOWN_VERSION = (
    "SELECT FROM memory.concept_versions JOIN memory.narrative_concepts AS concepts USING (concept_id)"
    " WHERE concepts.world_id IS NOT DISTINCT FROM %(world)s::int AND (kind, name, version) = (%(kind)s, %(name)s, %(version)s)"
)
COUNT_EVENTS = (
    "UPDATE memory.worlds SET last_sequence = greatest(last_sequence, %(last)s), events ="
    " (SELECT count(*) FROM memory.story_events WHERE world_id = %(world)s) WHERE world_id = %(world)s"
)
CONCEPTS = (
    "SELECT kind, name, version, from_seconds, summary, attributes, digest, cause_sequence, account, recorded_at, model, embedding"
    " FROM memory.narrative_concepts AS concepts JOIN memory.concept_versions AS versions USING (concept_id)"
    " WHERE concepts.world_id IS NOT DISTINCT FROM %s::int ORDER BY kind, name, version"
)
CONCEPT = (
    "INSERT INTO memory.narrative_concepts AS known (world_id, kind, name, current_version)"
    " VALUES (%(world)s, %(kind)s, %(name)s, %(version)s) ON CONFLICT (world_id, kind, name)"
    " DO UPDATE SET current_version = greatest(known.current_version, excluded.current_version) RETURNING concept_id"
)
VERSION = (
    "INSERT INTO memory.concept_versions (concept_id, version, world_id, from_seconds, summary, attributes, digest, cause_sequence,"
    " account, recorded_at, tsv, model, embedding) VALUES (%(concept)s, %(version)s, %(world)s, %(from_seconds)s, %(summary)s,"
    " %(attributes)s, %(digest)s, %(cause_sequence)s, %(account)s, %(recorded_at)s, to_tsvector('english', %(text)s), %(model)s,"
    " %(embedding)s) ON CONFLICT (concept_id, version) DO NOTHING RETURNING version"
)
SAME_VERSION = "SELECT digest = %(digest)s FROM memory.concept_versions WHERE concept_id = %(concept)s AND version = %(version)s"
RELATION_COLUMNS = ", ".join(
    (*KEY, "version, from_seconds, ended, strength, cause_sequence, account, recorded_at")
)
RELATIONS = (
    f"SELECT {RELATION_COLUMNS} FROM memory.concept_relationships WHERE world_id IS NOT DISTINCT FROM %s::int"
    " ORDER BY subject_kind, subject_name, kind, object_kind, object_name, version"
)
RELATION = (
    f"INSERT INTO memory.concept_relationships (world_id, {RELATION_COLUMNS}) VALUES (%(world)s, "
    + ", ".join(f"%({each.strip()})s" for each in RELATION_COLUMNS.split(","))
    + ") ON CONFLICT (subject_kind, subject_name, world_id, kind, object_kind, object_name, version) DO NOTHING RETURNING version"
)
SAME_RELATION = (
    "SELECT (from_seconds, ended, strength, cause_sequence) = (%(from_seconds)s, %(ended)s, %(strength)s, %(cause_sequence)s)"
    f" FROM memory.concept_relationships WHERE {SAME} AND version = %(version)s"
)
REVIEWS = (
    "SELECT source, coalesce(worlds.name, '') AS world, content_sha256, verdict, reviewer, reviewed_at"
    " FROM memory_ops.reviews LEFT JOIN memory.worlds USING (world_id) ORDER BY 2, 1, 3"
)
REVIEW = (
    "INSERT INTO memory_ops.reviews (source, world_id, content_sha256, verdict, reviewer, reviewed_at)"
    " VALUES (%(source)s, %(world)s, %(content)s, %(verdict)s, %(reviewer)s, %(reviewed_at)s)"
    " ON CONFLICT (source, world_id, content_sha256) DO NOTHING RETURNING verdict"
)
# What was ingested before the import: its text has had a verdict.
APPLY = (
    "UPDATE memory.narrative_documents SET status = %(verdict)s WHERE source = %(source)s AND content_sha256 = %(content)s"
    " AND scope = CASE WHEN %(world)s::int IS NULL THEN 'global' ELSE 'world' END AND world_id IS NOT DISTINCT FROM %(world)s::int"
    " AND status <> 'live'"
)

# Of concepts and of relations.
COUNT_VERSIONS = (
    "SELECT (SELECT count(*) FROM memory.concept_versions WHERE world_id IS NOT DISTINCT FROM %(world)s::int)"
    " + (SELECT count(*) FROM memory.concept_relationships WHERE world_id IS NOT DISTINCT FROM %(world)s::int)"
)
ANALYZE = "ANALYZE memory.story_events, memory.narrative_concepts, memory.concept_versions, memory.concept_relationships"
