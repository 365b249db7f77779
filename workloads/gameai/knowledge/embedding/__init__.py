"""Texts to vectors: one protocol, and what computes them."""
