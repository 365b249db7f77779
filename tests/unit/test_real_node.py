"""What a real node reads and is started with, and how its images are put together."""

import json
from pathlib import Path

import pytest
from gameai_contract import archetypes
from gameai_contract.names import PART_OF
from gameai_devcluster import charts, components, images, install, nodes
from gameai_devcluster.components import Ports, Site
from gameai_devcluster.install import ROOT
from gameai_devcluster.node import files, programs
from gameai_devcluster.node.files import NodeSite
from packaging.requirements import Requirement

PORTS = Ports(etcd=1, etcd_peer=2, api=3, controllers=4, scheduler=5)
NAMES = ("node", "containerd", "containerd-shim-runc-v2", "runc", "ctr", "coredns", "pause", "duel")
SITE = NodeSite(
    folder=Path("/deep/in/a/checkout"),
    kubeconfig=Path("/k/kubeconfig"),
    certificates=Path("/k/certificates"),
    programs={name: Path("/cache") / name for name in NAMES},
)


def test_beside_a_real_node_the_api_server_is_reached_by_pods() -> None:
    alone = components.api_server(Site(folder=Path("/c"), ports=PORTS))
    beside = components.api_server(Site(folder=Path("/c"), ports=PORTS, node_address="10.244.0.1"))
    assert "--bind-address=127.0.0.1" in alone
    assert "--bind-address=127.0.0.1" not in beside
    assert "--advertise-address=10.244.0.1" in beside


def test_beside_a_real_node_what_needs_no_gpu_really_runs() -> None:
    for node in nodes.manifests(beside_real=True):
        assert node["spec"]["taints"], node["metadata"]["name"]
    free = [n for n in nodes.manifests() if not n["spec"]["taints"]]
    assert {n["metadata"]["labels"]["node.kubernetes.io/instance-type"] for n in free} == {
        "m7i.4xlarge"
    }


def test_sockets_are_short_however_deep_the_checkout_lies() -> None:
    assert len(str(files.SOCKET)) < 100
    assert str(SITE.folder) not in str(files.SOCKET)


def test_the_kubelets_port_asks_for_a_certificate() -> None:
    kubelet = json.loads(files.files(SITE)["kubelet.yaml"])
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authentication"]["x509"] == {"clientCAFile": "/k/certificates/ca.crt"}


def test_containerd_is_started_first_and_the_kubelet_last() -> None:
    assert list(files.commands(SITE)) == ["containerd", "coredns", "kube-proxy", "kubelet"]


def test_pods_find_names_where_services_say_they_are() -> None:
    service, slice_ = files.objects()
    kubelet = json.loads(files.files(SITE)["kubelet.yaml"])
    assert kubelet["clusterDNS"] == [service["spec"]["clusterIP"]]
    assert slice_["endpoints"][0]["addresses"] == [files.ADDRESS]
    assert f"bind {files.ADDRESS}" in files.files(SITE)["Corefile"]


@pytest.mark.parametrize(
    ("python", "expected"), [("3.11", ["a", "b"]), ("3.13", ["a", "c"])], ids=["3.11", "3.13"]
)
def test_requirements_are_those_of_the_images_own_python(python: str, expected: list[str]) -> None:
    text = (
        "# a comment\n"
        "a==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\n"
        "b==2.0 ; python_full_version < '3.12' \\\n    --hash=sha256:cc\n"
        "c==3.0 ; python_full_version >= '3.12' and sys_platform == 'linux' \\\n    --hash=sha256:dd\n"
        "d==4.0 ; sys_platform == 'win32' \\\n    --hash=sha256:ee\n"
    )
    lines = list(images._flat(text, python))
    assert [Requirement(each.split(" --")[0]).name for each in lines] == expected
    assert lines[0] == "a==1.0 --hash=sha256:aa --hash=sha256:bb\n"


@pytest.mark.parametrize("part", ["operator", "workloads"])
def test_an_image_is_small_and_has_no_user_but_its_own(part: str) -> None:
    text = (ROOT / f"{part}.Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    assert text.count("\nFROM ") == 2
    assert "USER 65532:65532" in final
    assert "pip" not in final
    assert "--no-index" in text
    assert "--require-hashes" in text


def test_the_chart_and_the_images_agree_on_users() -> None:
    for each in charts.rendered():
        if each["kind"] == "Deployment":
            assert each["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 65532


def test_the_examples_show_every_kind_of_ours() -> None:
    found = {each["kind"] for each in install.examples() if install.has_status(each)}
    assert found == {"ModelTier", "GameWorld"}


def test_the_examples_archetypes_are_right_and_those_that_its_world_names() -> None:
    [config] = [each for each in install.examples() if not install.has_status(each)]
    assert set(archetypes.parse(config["data"])) == {"guard", "bard"}
    worlds = [each for each in install.examples() if each["kind"] == "GameWorld"]
    named = [each["spec"]["archetypes"] for each in worlds if "archetypes" in each["spec"]]
    assert named == [{"configMap": {"name": config["metadata"]["name"]}}]
    assert PART_OF.items() <= config["metadata"]["labels"].items()


def test_a_docker_that_does_not_answer_builds_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "buildah" in programs.missing_packages()
    docker.write_text("#!/bin/sh\nexit 0\n")
    assert "buildah" not in programs.missing_packages()
