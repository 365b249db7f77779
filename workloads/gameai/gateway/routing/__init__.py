"""From a question to its plan: the snapshot of tiers and worlds, archetypes, and what they say of a question. PURE."""
