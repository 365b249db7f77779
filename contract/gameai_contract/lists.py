"""PURE: lists of Kubernetes objects, as kubectl prints them."""

from collections.abc import Mapping, Sequence


def objects(document: object) -> Sequence[object]:
    """The objects of a `kind: List`, none where its items are no list; or the one object."""
    if not isinstance(document, Mapping) or document.get("kind") != "List":
        return (document,)
    items = document.get("items")
    return items if isinstance(items, list) else ()
