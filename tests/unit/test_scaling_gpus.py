"""GPU use of tiers, from pages of dcgm-exporter."""

import pytest
from gameai_operator.scaling.exposition import parse
from gameai_operator.scaling.gpus import UTILISATION, Gpus
from gameai_operator.scaling.signals import Sample
from gameai_operator.tier.template import ON_DEMAND, SPOT

NOW = 1000.0


def page(*rows: tuple[str, str, float | str], name: str = UTILISATION) -> str:
    """A page in the exporter's own form, with a space before the second label."""
    head = f"# HELP {name} GPU utilization (in %).\n# TYPE {name} gauge\n"
    lines = [
        f'{name}{{gpu="{at}", UUID="GPU-604ac76c-{at}",modelName="NVIDIA A10G",Hostname="n",container="vllm",'
        f'namespace="{namespace}",pod="{pod}"}} {value}'
        for at, (namespace, pod, value) in enumerate(rows)
    ]
    return head + "\n".join(lines) + "\n"


def seen(*pages: str) -> Gpus:
    gpus = Gpus()
    for at, text in enumerate(pages):
        gpus.take(f"10.0.0.{at}:9400", parse(text, NOW + at, (UTILISATION,)))
    return gpus


POD = "gold-on-demand-7c9f8b6d5f-x2v4q"


def test_use_is_the_mean_over_all_gpus_and_as_old_as_the_oldest_reading() -> None:
    first = page(("games", POD, 90), ("games", "gold-spot-7c9f8b6d5f-aaaaa", 60))
    gpus = seen(first, page(("games", "gold-spot-7c9f8b6d5f-bbbbb", 30)))
    assert gpus.percent("games", "gold") == Sample(60.0, NOW)


@pytest.mark.parametrize(
    ("namespace", "pod", "value"),
    [
        ("other", POD, 90),
        ("games", "silver-on-demand-7c9f8b6d5f-x2v4q", 90),
        ("games", "gold-7c9f8b6d5f-x2v4q", 90),
        ("games", "gold-spot-on-demand-7c9f8b6d5f-x2v4q", 90),
        ("games", "", 90),
        ("games", POD, 9223372036854775794),
        ("games", POD, "NaN"),
        ("games", POD, -1),
    ],
)
def test_other_pods_and_impossible_values_are_no_reading(
    namespace: str, pod: str, value: float | str
) -> None:
    assert seen(page((namespace, pod, value))).percent("games", "gold") is None


def test_zero_is_a_reading() -> None:
    assert seen(page(("games", POD, 0))).percent("games", "gold") == Sample(0.0, NOW)


def test_other_fields_of_the_exporter_are_not_kept() -> None:
    text = page(("games", POD, 5), name=f"{UTILISATION}_OTHER")
    assert seen(text).percent("games", "gold") is None


def test_an_exporter_that_is_gone_is_forgotten() -> None:
    gpus = seen(page(("games", POD, 90)), page(("games", POD, 10)))
    gpus.listed(["10.0.0.1:9400"])
    assert gpus.percent("games", "gold") == Sample(10.0, NOW + 1)


@pytest.mark.parametrize("kind", [ON_DEMAND, SPOT])
def test_pods_of_both_deployments_of_a_tier_are_recognized(kind: str) -> None:
    name = f"gold-{kind}-abc123-q1w2e"
    assert seen(page(("games", name, 7))).percent("games", "gold") == Sample(7.0, NOW)
