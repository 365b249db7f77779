"""PURE: the rules of settings."""
