"""PURE rules of the storyteller: what is asked, written, checked and kept."""
