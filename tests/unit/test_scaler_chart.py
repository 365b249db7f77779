"""The chart's scaler: where KEDA reaches it, who may, and with which certificate."""

import argparse
from typing import Any

import pytest
from gameai_devcluster import charts
from gameai_operator.environment import settings
from gameai_operator.flags import add_scaler_flags
from support.rendered_charts import named, operator_settings

SCALER = "gameai-operator-scaler"
TLS = {"scaler": {"keda": {"tlsSecretName": "scaler-tls", "authentication": "scaler-ca"}}}


def scaler(values: dict[str, Any] | None = None) -> dict[str, Any]:
    deployment = named(charts.rendered(values=values), "Deployment", SCALER)
    template: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return template


def test_the_operator_names_the_service_of_the_scaler_to_keda() -> None:
    documents = charts.rendered()
    service = named(documents, "Service", SCALER)
    host, _, port = operator_settings().keda.scaler_address.partition(":")
    assert host == f"{SCALER}.{service['metadata']['namespace']}.svc"
    # Headless: KEDA balances over all scalers.
    assert service["spec"]["clusterIP"] == "None"
    assert int(port) == service["spec"]["ports"][0]["port"]
    (container,) = scaler()["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports[service["spec"]["ports"][0]["targetPort"]] == int(port)


def test_without_a_scaler_the_operator_names_none() -> None:
    assert operator_settings({"scaler": {"enabled": False}}).keda.scaler_address == ""


def test_only_the_namespace_of_keda_reaches_the_port() -> None:
    documents = charts.rendered(values={"scaler": {"keda": {"namespace": "autoscaling"}}})
    rules = named(documents, "NetworkPolicy", SCALER)["spec"]["ingress"]
    (rule,) = [each for each in rules if each["ports"][0]["port"] == 6000]
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "autoscaling"}}}
    ]


def test_a_certificate_is_mounted_and_its_authority_named() -> None:
    pod = scaler(TLS)
    (container,) = pod["containers"]
    parser = argparse.ArgumentParser()
    add_scaler_flags(parser, {})
    made = settings(parser.parse_args(container["args"])).scaler
    mount = next(each for each in container["volumeMounts"] if each["name"] == "keda")
    assert {made.certificate_file, made.key_file} == {
        f"{mount['mountPath']}/tls.crt",
        f"{mount['mountPath']}/tls.key",
    }
    assert {"name": "keda", "secret": {"secretName": "scaler-tls", "optional": True}} in pod[
        "volumes"
    ]
    assert operator_settings(TLS).keda.authentication == "scaler-ca"


@pytest.mark.parametrize("given", ["tlsSecretName", "authentication"])
def test_half_of_the_values_for_tls_are_refused(given: str) -> None:
    with pytest.raises(Exception, match="go together"):
        charts.rendered(values={"scaler": {"keda": {given: "x"}}})
