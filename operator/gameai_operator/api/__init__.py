"""Frozen types that are the custom resources, and the schema made from them."""
