"""How fast a hand's edit is repaired, and how soon CRDs that come later are taken up."""

import time

from gameai_devcluster import install
from gameai_devcluster.api import path
from gameai_devcluster.testing.waiting import settled, until

from benchmarks.report import median, write
from benchmarks.stage import Stage, stage, tier

ROUNDS = 10
REPAIR_SECONDS, CRD_SECONDS, READY_SECONDS = 5.0, 15.0, 30.0


def main() -> None:
    """Measure and report."""
    with stage() as played:
        repairs = repair(played)
        later = [crds_later(played) for _ in range(3)]
    write(
        "repair",
        [
            median("an edited field is restored", repairs, limit=REPAIR_SECONDS, unit="s"),
            median("CRDs installed later are taken up", later, limit=CRD_SECONDS, unit="s"),
        ],
    )


def repair(played: Stage) -> list[float]:
    """Seconds from an edit of a Service's selector to its repair."""
    api = played.api
    install.namespace(api, "repair")
    operator = played.operator("repair").wait_ready()
    api.apply(tier("repair", "gold"))
    until("settled", lambda: settled(api.get("ModelTier", "repair", "gold")), seconds=READY_SECONDS)
    found = []
    for number in range(ROUNDS):
        began = time.monotonic()
        edit = {"spec": {"selector": {"gameai.dev/tier": f"x{number}"}}}
        api.patch(path("Service", "repair", "gold"), edit)

        def repaired() -> bool:
            selector = api.get("Service", "repair", "gold")["spec"]["selector"]
            return bool(selector["gameai.dev/tier"] == "gold")

        until("repaired", repaired, seconds=60)
        found.append(time.monotonic() - began)
    assert operator.stop() == 0
    api.delete("ModelTier", "repair", "gold")
    return found


def crds_later(played: Stage) -> float:
    """Seconds from the installation of the CRDs to an operator that is ready."""
    api = played.api
    api.delete("CustomResourceDefinition", None, "modeltiers.gameai.dev")
    until(
        "the CRD is gone",
        lambda: api.find("CustomResourceDefinition", None, "modeltiers.gameai.dev") is None,
        seconds=60,
    )
    operator = played.operator("later")
    until("it waits", lambda: "is not served" in operator.output(), seconds=60)
    time.sleep(5.0)
    install.crds(api)
    began = time.monotonic()
    operator.wait_ready()
    seconds = time.monotonic() - began
    assert operator.stop() == 0
    return seconds


if __name__ == "__main__":
    main()
