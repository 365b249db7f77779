"""PURE: quantities of Kubernetes as numbers."""

_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def number(quantity: str) -> float:
    """The value of a quantity that the schema took: `1Gi` is 1073741824.0."""
    digits = quantity.rstrip("mkMGTi")
    return float(digits) * _UNITS[quantity[len(digits) :]]
