from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster import binary, components, images, nodes, secrets, stages
from gameai_devcluster.components import Ports, Site
from gameai_devcluster.install import ROOT
from gameai_devcluster.testing.metrics import total

SITE = Site(
    folder=Path("/x"),
    ports=Ports(etcd=1, etcd_peer=2, api=3, controllers=4, scheduler=5),
    audit=True,
)


def test_gpu_nodes_come_in_three_zones_and_both_capacities() -> None:
    made = list(nodes.manifests())
    gpu = [each for each in made if nodes.GPU_RESOURCE in each["status"]["capacity"]]
    kinds = {
        (
            each["metadata"]["labels"]["node.kubernetes.io/instance-type"],
            each["metadata"]["labels"]["karpenter.sh/capacity-type"],
            each["metadata"]["labels"]["topology.kubernetes.io/zone"],
        )
        for each in gpu
    }
    assert len(kinds) == 2 * 2 * 3
    assert all(each["spec"]["taints"] for each in gpu)
    assert len({each["metadata"]["name"] for each in made}) == len(made)
    assert any(not each["spec"]["taints"] for each in made)


def test_an_audit_log_is_kept_only_on_request() -> None:
    assert any(each.startswith("--audit-log-path") for each in components.api_server(SITE))
    quiet = Site(folder=SITE.folder, ports=SITE.ports)
    assert not any("audit" in each for each in components.api_server(quiet))


@pytest.mark.parametrize(
    "arguments",
    [
        components.etcd(SITE),
        components.api_server(SITE),
        components.controllers(SITE),
        components.scheduler(SITE),
        components.kwok(SITE),
    ],
)
def test_a_component_is_named_first_and_listens_on_loopback_only(arguments: list[str]) -> None:
    assert not arguments[0].startswith("-")
    assert not any(each.endswith("=0.0.0.0") for each in arguments)


@pytest.mark.parametrize("delays", [{"": 20}, {"model-gold": 5, "": 20}, stages.START_DELAYS_MS])
def test_every_kind_of_pod_has_one_start_delay(delays: dict[str, int]) -> None:
    made = [
        each
        for each in stages.documents(delays)
        if each["metadata"]["name"].startswith("pod-ready")
    ]
    assert [each["spec"]["delay"]["durationMilliseconds"] for each in made] == list(delays.values())
    selectors: list[dict[str, Any]] = [
        entry for each in made for entry in each["spec"]["selector"]["matchExpressions"]
    ]
    assert all(entry.get("values") != [] for entry in selectors)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (None, 'secret "hf" not found'),
        ({"data": None}, "couldn't find key token in Secret n/hf"),
        ({"data": {"other": ""}}, "couldn't find key token in Secret n/hf"),
        ({"data": {"token": "eA=="}}, None),
    ],
)
def test_a_missing_secret_is_reported_in_a_kubelets_words(secret: Any, words: str | None) -> None:
    assert secrets.fault(secret, "hf", "token", "n") == words


METRICS = """\
# TYPE taken counter
taken{from="a"} 2.0
taken{from="b"} 3.0
taken_seconds 9.0
alone 4
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("taken", 5.0), ('taken{from="b"}', 3.0), ("alone", 4.0), ("none", 0.0), ("take", 0.0)],
)
def test_a_metric_is_summed_over_its_labels(name: str, expected: float) -> None:
    assert total(METRICS, name) == expected


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (0, 2700, 5, ""),
        (100, 2700, 10, ""),
        (1350, 2700, 120, "; about 3 min left"),
        (2690, 2700, 240, "; about 1 min left"),
        (500, 0, 60, ""),
    ],
)
def test_a_build_estimates_what_is_left_once_it_knows_its_pace(
    done: int, total: int, seconds: float, words: str
) -> None:
    assert binary.remaining(done, total, seconds) == words


def test_a_dockerfile_says_what_its_image_is_made_of() -> None:
    text = (ROOT / "operator.Dockerfile").read_text()
    assert images.sources(text) == ["contract/gameai_contract", "operator/gameai_operator"]
    double = (ROOT / "devcluster/double/Dockerfile").read_text()
    assert images.sources(double) == ["simulators/gameai_vllm", "devcluster/double/vllm"]
