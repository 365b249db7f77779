"""All that an archive brings back, as rows in order."""

EVENTS = (
    "SELECT name, sequence, key, digest, world_seconds, kind, summary, participants, evidence, confidence, importance, account,"
    " recorded_at, status, reasons, reviewer, reviewed_at, embedding::text, events, last_sequence"
    " FROM memory.story_events JOIN memory.worlds USING (world_id) ORDER BY name, sequence"
)
REVIEWS = "SELECT source, content_sha256, verdict, reviewer, reviewed_at FROM memory_ops.reviews"
CONCEPTS = (
    "SELECT name_of.name, kind, c.name, current_version, version, from_seconds, summary, attributes, digest, cause_sequence, account,"
    " recorded_at, tsv::text, embedding::text FROM memory.narrative_concepts AS c JOIN memory.concept_versions AS v"
    " USING (concept_id) LEFT JOIN memory.worlds AS name_of ON name_of.world_id = c.world_id ORDER BY 1, 2, 3, 5"
)
RELATIONS = (
    "SELECT name, subject_kind, subject_name, kind, object_kind, object_name, version, from_seconds, ended, strength,"
    " cause_sequence, account, recorded_at FROM memory.concept_relationships LEFT JOIN memory.worlds USING (world_id)"
    " ORDER BY 1, 2, 3, 4, 5, 6, 7"
)
