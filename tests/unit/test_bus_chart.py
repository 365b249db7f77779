"""The chart's event bus: its servers, its controller, and where worlds find it."""

import argparse
import re
from typing import Any

import pytest
from gameai.bus_controller.__main__ import add_flags
from gameai_devcluster import charts
from support.rendered_charts import named, operator_settings

BUS, CONTROLLER = "gameai-operator-bus", "gameai-operator-bus-controller"


def rendered(**managed: Any) -> list[dict[str, Any]]:
    return charts.rendered(values={"bus": {"mode": "Managed", "managed": managed}})


def given(documents: list[dict[str, Any]]) -> argparse.Namespace:
    """The controller's flags."""
    deployment = named(documents, "Deployment", CONTROLLER)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(container["args"])


def test_without_a_bus_there_is_none_of_it() -> None:
    assert not [each for each in charts.rendered() if "bus" in each["metadata"]["name"]]
    assert operator_settings().bus_endpoint == ""


def test_worlds_and_the_controller_are_given_the_address_of_the_service() -> None:
    documents = rendered()
    service = named(documents, "Service", BUS)
    address = f"{BUS}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    assert operator_settings({"bus": {"mode": "Managed"}}).bus_endpoint == address
    assert given(documents).bus == f"nats://{address}"
    deployment = named(documents, "Deployment", CONTROLLER)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "GAMEAI_BUS_URL": given(documents).bus,
        "GAMEAI_BUS_CA": str(given(documents).bus_ca),
        "GAMEAI_BUS_SECRET": str(given(documents).secret),
    }


@pytest.mark.parametrize(("replicas", "kept"), [(1, 1), (3, 3), (5, 3)])
def test_each_stream_is_kept_by_three_servers_where_there_are_three(
    replicas: int, kept: int
) -> None:
    documents = rendered(replicas=replicas, storageGiB=7)
    found = given(documents)
    assert (found.stream_replicas, found.disk_mib) == (kept, 7 * 1024)
    servers = named(documents, "StatefulSet", BUS)["spec"]
    assert servers["replicas"] == replicas
    claim = servers["volumeClaimTemplates"][0]["spec"]
    assert claim["resources"] == {"requests": {"storage": "7Gi"}}
    budgets = [each for each in documents if each["kind"] == "PodDisruptionBudget"]
    assert (BUS in {each["metadata"]["name"] for each in budgets}) == (replicas > 1)
    configuration = named(documents, "ConfigMap", BUS)["data"]["nats.conf"]
    assert ("sync_interval: always" in configuration) == (replicas == 1)
    assert ("cluster {" in configuration) == (replicas > 1)


def test_the_servers_get_all_that_their_configuration_names_and_not_the_seed() -> None:
    documents = rendered()
    (container,) = named(documents, "StatefulSet", BUS)["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    text = named(documents, "ConfigMap", BUS)["data"]["nats.conf"]
    # A name in quotes is a subject.
    wanted = set(re.findall(r'(?<!")\$(\w+)', text))
    assert "ROUTE_2" in wanted
    assert wanted <= set(variables)
    keys = {
        each["valueFrom"]["secretKeyRef"]["key"]
        for each in container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert "issuer" in keys
    assert "issuer-seed" not in keys


def test_the_controller_reads_one_secret_and_views_of_worlds_and_writes_their_status() -> None:
    documents = charts.rendered(values={"bus": {"mode": "Managed"}, "namespaces": ["moor", "fen"]})
    rules = named(documents, "Role", CONTROLLER)["rules"]
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": [BUS]},
    ]
    roles = [each for each in documents if each["kind"] == "Role"]
    views = [each for each in roles if each["metadata"]["name"].startswith(f"{CONTROLLER}-")]
    assert {each["metadata"]["namespace"] for each in views} == {"moor", "fen"}
    assert all(
        each["rules"]
        == [
            {
                "apiGroups": ["gameai.dev"],
                "resources": ["worldviews"],
                "verbs": ["get", "list", "watch"],
            },
            {"apiGroups": ["gameai.dev"], "resources": ["worldviews/status"], "verbs": ["patch"]},
        ]
        for each in views
    )
    assert given(documents).namespaces == "moor,fen"


@pytest.mark.parametrize(
    ("managed", "word"), [({"replicas": 2}, "replicas"), ({"storageGiB": 0}, "storageGiB")]
)
def test_servers_that_could_not_agree_are_refused(managed: dict[str, Any], word: str) -> None:
    with pytest.raises(Exception, match=word):
        rendered(**managed)


def test_values_of_a_former_chart_have_no_bus() -> None:
    """As `helm upgrade --reuse-values` gives them."""
    documents = charts.rendered(values={"bus": None})
    assert not [each for each in documents if "bus" in each["metadata"]["name"]]


def test_gateways_keep_jobs_on_the_bus_under_their_own_account() -> None:
    documents = rendered()
    deployment = named(documents, "Deployment", "gameai-operator-gateway")
    pod = deployment["spec"]["template"]["spec"]
    namespace = deployment["metadata"]["namespace"]
    assert given(documents).gateway_account == f"{namespace}/{pod['serviceAccountName']}"
    arguments = pod["containers"][0]["args"]
    assert f"--bus={given(documents).bus}" in arguments
    assert "--bus-token=/bus/token" in arguments
    (volume,) = [each for each in pod["volumes"] if each["name"] == "bus"]
    source, authority = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "gameai-bus"
    assert authority["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    policy = named(documents, "NetworkPolicy", BUS)
    admitted = policy["spec"]["ingress"][0]["from"]
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert {"podSelector": {"matchLabels": labels}} in admitted


def test_without_gateways_none_may_use_jobs() -> None:
    values = {"bus": {"mode": "Managed"}, "gateway": {"enabled": False}}
    documents = charts.rendered(values=values)
    assert given(documents).gateway_account == ""
    policy = named(documents, "NetworkPolicy", BUS)
    assert "gateway" not in str(policy["spec"]["ingress"])


def test_without_a_bus_gateways_take_no_jobs() -> None:
    (container,) = named(charts.rendered(), "Deployment", "gameai-operator-gateway")["spec"][
        "template"
    ]["spec"]["containers"]
    assert not [each for each in container["args"] if each.startswith("--bus")]


def encrypted(**tls: Any) -> list[dict[str, Any]]:
    return charts.rendered(values={"bus": {"mode": "Managed", "tls": tls}})


def secrets_of(documents: list[dict[str, Any]], kind: str, name: str) -> set[str]:
    """The Secrets with certificates that the pods of an object mount."""
    volumes = named(documents, kind, name)["spec"]["template"]["spec"]["volumes"]
    sources = [each.get("secret") for each in volumes]
    sources += [
        each.get("secret")
        for volume in volumes
        for each in volume.get("projected", {}).get("sources", ())
    ]
    found = {each.get("secretName") or each.get("name") for each in sources if each}
    return {each for each in found if "bus" in each or each == "mine"}


PODS = [
    ("StatefulSet", BUS),
    ("Deployment", CONTROLLER),
    ("Deployment", "gameai-operator-gateway"),
    ("Deployment", "gameai-operator"),
]


@pytest.mark.parametrize(
    ("tls", "secret", "kinds"),
    [
        ({}, f"{BUS}-tls", {"Secret"}),
        (
            {"mode": "CertManager", "issuerRef": {"name": "internal"}},
            f"{BUS}-cert",
            {"Certificate"},
        ),
        ({"secretName": "mine"}, "mine", set()),
    ],
)
def test_connections_to_the_bus_are_encrypted(
    tls: dict[str, Any], secret: str, kinds: set[str]
) -> None:
    documents = encrypted(**tls)
    found = [each for each in documents if each["kind"] in {"Secret", "Certificate"}]
    assert {each["kind"] for each in found if BUS in each["metadata"]["name"]} == kinds
    for kind, name in PODS:
        assert secrets_of(documents, kind, name) == {secret}
    configuration = named(documents, "ConfigMap", BUS)["data"]["nats.conf"]
    assert "handshake_first: true" in configuration
    assert configuration.count("/tls/tls.key") == 2
    assert str(given(documents).bus_certificate) == "/bus-tls/tls.crt"
    gateway = named(documents, "Deployment", "gameai-operator-gateway")["spec"]["template"]["spec"]
    assert "--bus-ca=/bus/ca.crt" in gateway["containers"][0]["args"]
    assert (
        operator_settings({"bus": {"mode": "Managed", "tls": tls}}).bus_ca_file == "/bus-ca/ca.crt"
    )


def test_the_certificate_is_for_clients_and_for_servers_among_themselves() -> None:
    documents = encrypted(mode="CertManager", issuerRef={"name": "internal"}, dnsNames=["bus.x"])
    [made] = [
        each["spec"]
        for each in documents
        if each["kind"] == "Certificate" and BUS in each["metadata"]["name"]
    ]
    host = f"{BUS}.gameai-system.svc"
    assert {host, f"*.{host}", "bus.x"} < set(made["dnsNames"])
    assert {"server auth", "client auth"} < set(made["usages"])


def test_the_key_of_the_certificate_stays_with_the_servers() -> None:
    documents = encrypted()
    for kind, name in PODS[1:]:
        text = str(named(documents, kind, name)["spec"]["template"]["spec"]["volumes"])
        assert f"{BUS}-tls" in text
        assert "tls.key" not in text


def test_without_encryption_nothing_of_it_is_there() -> None:
    documents = encrypted(mode="Off")
    assert not [each for each in documents if each["metadata"]["name"] == f"{BUS}-tls"]
    assert "tls" not in named(documents, "ConfigMap", BUS)["data"]["nats.conf"]
    assert given(documents).bus_ca is None
    for kind, name in PODS:
        assert secrets_of(documents, kind, name) == set()
    with pytest.raises(Exception, match=r"bus\.tls\.issuerRef\.name must name an Issuer"):
        encrypted(mode="CertManager")
