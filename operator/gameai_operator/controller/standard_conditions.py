"""PURE: the conditions Stalled and Reconciling, the same meaning for each kind, as kstatus reads them."""

from collections.abc import Iterable, Sequence

from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import RejectedWrite

# A reason and a message.
Problem = tuple[str, str]


def stalled(problems: Iterable[Problem]) -> Condition:
    """What only the user can correct, all of it at once; the reason is that of the first."""
    found = list(problems)
    if not found:
        return Condition(type="Stalled", status=False, reason="AsExpected")
    message = "; ".join(dict.fromkeys(text for _, text in found))
    return Condition(type="Stalled", status=True, reason=found[0][0], message=message)


def rejected(rejections: Iterable[RejectedWrite]) -> list[Problem]:
    """Rejected writes as problems."""
    return [(each.reason, each.message) for each in rejections]


def reconciling(
    failures: Sequence[RejectedWrite],
    held_up: Problem | None,
    *,
    rolling: bool,
    is_stalled: bool,
    because: Problem | None = None,
) -> Condition:
    """Whether work is in progress: failing writes first, which may heal, then what holds a roll-out up, then the roll-out.

    A roll-out that waits for the user is stalled, not in progress. `because` is what keeps its pods from being ready.
    """
    if failures:
        return _in_progress(failures[0].reason, failures[0].message)
    if held_up:
        return _in_progress(*held_up)
    if rolling and not is_stalled:
        words = f"; {because[0]}: {because[1]}" if because else ""
        message = f"not all pods of the current template are ready yet{words}"
        return _in_progress("RollingOut", message)
    return Condition(type="Reconciling", status=False, reason="AsExpected")


def _in_progress(reason: str, message: str) -> Condition:
    return Condition(type="Reconciling", status=True, reason=reason, message=message)
