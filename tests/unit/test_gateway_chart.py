"""The gateway's part of the chart."""

import argparse
import base64
from typing import Any

import pytest
from cryptography import x509
from gameai.gateway import __main__ as gateway_main
from gameai_contract.names import GATEWAY_LABELS
from gameai_devcluster import charts
from gameai_operator.settings import GatewaySettings, Policy
from support.rendered_charts import (
    EVERY,
    GATEWAY,
    gateway,
    named,
    of_kind,
    operator_settings,
    rights,
)

GATEWAY_EVERY: dict[str, Any] = {
    "enabled": True,
    "image": "gateway:3",
    "replicas": 4,
    "autoscaling": {"enabled": False},
    "tls": {"secretName": "gateway-tls"},
    "drainSeconds": 50,
    "resources": {"requests": {"cpu": "2"}},
    "podLabels": {"team": "npc"},
    "podAnnotations": {"c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}


def gateway_flags(values: dict[str, Any] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gateway_main.add_flags(parser)
    return parser.parse_args(gateway(values)["spec"]["template"]["spec"]["containers"][0]["args"])


def test_the_gateway_knows_every_flag_that_the_chart_gives() -> None:
    plain = gateway_flags()
    assert plain.cluster
    assert plain.own_service == f"gameai-system/{GATEWAY}"
    assert (plain.namespaces, str(plain.tls_certificate)) == ("", "/tls/tls.crt")
    assert gateway_flags({"gateway": {"tls": {"mode": "Off"}}}).tls_certificate is None
    every = gateway_flags({**EVERY, "gateway": GATEWAY_EVERY})
    assert every.namespaces == "one,two"
    assert (str(every.tls_certificate), str(every.tls_key)) == ("/tls/tls.crt", "/tls/tls.key")
    assert (every.drain_seconds, every.log_level) == (50, "DEBUG")


def test_every_value_reaches_the_gateways_pod() -> None:
    made = gateway({**EVERY, "gateway": GATEWAY_EVERY})
    assert made["spec"]["replicas"] == 4
    template = made["spec"]["template"]
    spec = template["spec"]
    assert spec["containers"][0]["image"] == "registry.example/mirror/gateway:3"
    assert spec["containers"][0]["resources"]["requests"]["cpu"] == "2"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert template["metadata"]["labels"]["team"] == "npc"
    assert template["metadata"]["annotations"] == {"c": "d"}
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert spec[name] == GATEWAY_EVERY[name]
    secret = next(each["secret"] for each in spec["volumes"] if each["name"] == "tls")
    assert secret["secretName"] == "gateway-tls"


def certificate(secret: dict[str, Any], key: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(secret["data"][key]))


def test_connections_to_gateways_are_encrypted_with_a_certificate_of_helms() -> None:
    documents = charts.rendered(values={"gateway": {"tls": {"dnsNames": ["npc.example.com"]}}})
    [secret] = of_kind(documents, "Secret")
    assert (secret["type"], set(secret["data"])) == (
        "kubernetes.io/tls",
        {"ca.crt", "tls.crt", "tls.key"},
    )
    made, authority = certificate(secret, "tls.crt"), certificate(secret, "ca.crt")
    made.verify_directly_issued_by(authority)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {f"{GATEWAY}.gameai-system.svc", "npc.example.com"} <= {
        *names.get_values_for_type(x509.DNSName)
    }
    # The operator hands the authority on to worlds, and never sees the key.
    operator = named(documents, "Deployment", "gameai-operator")["spec"]["template"]["spec"]
    [volume] = [each for each in operator["volumes"] if each["name"] == "gateway-ca"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert operator_settings().gateway == GatewaySettings(
        endpoint=f"{GATEWAY}.gameai-system.svc:50051", ca_file="/gateway-ca/ca.crt"
    )


def test_certificates_come_from_cert_manager_from_a_secret_or_there_are_none() -> None:
    def tls(**given: Any) -> tuple[list[str], str]:
        documents = charts.rendered(values={"gateway": {"tls": given}})
        kinds = [each["kind"] for each in documents if each["kind"] in ("Secret", "Certificate")]
        return kinds, operator_settings({"gateway": {"tls": given}}).gateway.ca_file

    issued = {"mode": "CertManager", "issuerRef": {"name": "internal", "kind": "ClusterIssuer"}}
    assert tls(**issued) == (["Certificate"], "/gateway-ca/ca.crt")
    assert tls(secretName="mine") == ([], "/gateway-ca/ca.crt")
    # The values of a former chart, with --reuse-values.
    assert tls(mode=None, issuerRef=None, dnsNames=None) == (["Secret"], "/gateway-ca/ca.crt")
    former = dict.fromkeys(
        ("allowedHubs", "allowedImages", "allowedServiceAccounts", "allowedSecrets")
    )
    assert operator_settings({"policy": {**former, "allowOpenNetworks": None}}).policy == Policy()
    assert tls(mode="Off") == ([], "")
    with pytest.raises(Exception, match=r"gateway\.tls\.issuerRef\.name must name an Issuer"):
        tls(mode="CertManager")


def test_the_gateways_pods_are_those_that_engines_admitted() -> None:
    labels = gateway()["spec"]["template"]["metadata"]["labels"]
    assert GATEWAY_LABELS.items() <= labels.items()
    service = named(charts.rendered(), "Service", GATEWAY)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_gateways_pod_is_restricted_and_has_time_to_drain() -> None:
    made = gateway({"gateway": {"drainSeconds": 40}})["spec"]["template"]["spec"]
    container = made["containers"][0]
    assert made["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert made["terminationGracePeriodSeconds"] > wait + 40


def test_the_gateway_is_scaled_by_its_cpu() -> None:
    documents = charts.rendered()
    scaler = named(documents, "HorizontalPodAutoscaler", GATEWAY)["spec"]
    assert scaler["scaleTargetRef"]["name"] == GATEWAY
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    metric = scaler["metrics"][0]["containerResource"]
    assert (metric["container"], metric["target"]["averageUtilization"]) == ("gateway", 70)
    # Else every `helm upgrade` would take back what the autoscaler did.
    assert "replicas" not in gateway()["spec"]
    fixed = charts.rendered(values={"gateway": {"autoscaling": {"enabled": False}}})
    assert of_kind(fixed, "HorizontalPodAutoscaler") == []


def test_the_gateway_may_read_and_nothing_else_and_can_be_left_out() -> None:
    for values in (None, {"namespaces": ["one"]}):
        documents = charts.rendered(values=values)
        roles = of_kind(documents, "ClusterRole") + of_kind(documents, "Role")
        mine = [each for each in roles if each["metadata"]["name"].startswith(GATEWAY)]
        assert {verb for rule in rights(mine) for verb in rule["verbs"]} == {"get", "list", "watch"}
        wide = any(each["kind"] == "ClusterRole" for each in mine)
        assert wide is (values is None)
    without = charts.rendered(values={"gateway": {"enabled": False}})
    assert [e for e in without if e["metadata"]["name"].startswith(GATEWAY)] == []
