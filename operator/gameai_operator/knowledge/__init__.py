"""PURE: KnowledgeBases: what is seen → what is to be. Nothing here awaits."""
