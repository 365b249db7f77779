"""PURE: the numbered revisions of a pod template, the same for each kind that has pods.

An operator upgrade must restart no pod: what a template is made of beside the spec is an input of a revision, and a
live object keeps its own.
"""

from collections.abc import Collection


class UnknownRevisionError(Exception):
    """An object has, or asks for, a revision that this operator cannot render; the message says what to do."""


def chosen(asked: int | None, kept: int, known: Collection[int]) -> int:
    """The revision of `spec.templateRevision`, else the one in use. Raises `UnknownRevisionError`."""
    number = asked or kept
    if number not in known:
        raise UnknownRevisionError(
            f"pod template revision {number} is not known to this operator (1 to {max(known)}): "
            "upgrade the operator, or set spec.templateRevision to one it knows"
        )
    return number
