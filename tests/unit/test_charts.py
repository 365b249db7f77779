"""What the charts render for the operator: rights, restricted pods, and only flags that it knows."""

import re
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from gameai_devcluster import charts
from gameai_operator.api import crd
from gameai_operator.settings import Policy, Settings
from support.rendered_charts import EVERY, GATEWAY, named, of_kind, operator_settings, pod, rights

PROTECTION = "gameai-operator-gameai-system-deletion-protection"


BOUNDS = "gameai-operator-gameai-system-bounds"


VIEWS = "gameai-operator-gameai-system-worldviews"


def test_the_charts_defaults_are_the_operators_own() -> None:
    made, own = operator_settings(), Settings()
    for name in (
        "namespaces",
        "capacity",
        "policy",
        "workloads_image",
        "pods",
        "worlds_at_a_time",
        "workers",
        "resync_seconds",
        "log_level",
        "health_port",
    ):
        assert getattr(made, name) == getattr(own, name), name
    assert made.lease.duration_seconds == own.lease.duration_seconds


def test_every_value_reaches_the_operator() -> None:
    made = operator_settings(EVERY)
    assert made.namespaces == ("one", "two")
    assert made.capacity.spot == ("SPOT",)
    assert made.policy == Policy(
        host_paths=("/mnt/models", "/data"),
        hubs=("hub.example.com",),
        images=("registry.example/", "vllm/vllm-openai"),
        service_accounts=("duel",),
        secrets=(),
        open_networks=False,
    )
    assert made.pods.registry == "registry.example/mirror"
    assert made.workloads_image == "registry.example/mirror/workloads:7"
    assert made.pods.pull_secrets == ("registry",)
    assert (made.worlds_at_a_time.number, made.workers, made.log_level) == (3, 4, "DEBUG")
    assert (made.resync_seconds, made.lease.retry_seconds) == (600, 4)


def test_every_value_reaches_the_pod() -> None:
    made = pod(EVERY)
    spec = made["spec"]
    assert spec["containers"][0]["image"] == "registry.example/mirror/operator:9"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert made["metadata"]["labels"]["team"] == "npc"
    assert made["metadata"]["annotations"] == {"c": "d"}
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert spec[name] == EVERY[name]
    account = named(charts.rendered(values=EVERY), "ServiceAccount", "gameai-operator")
    assert account["metadata"]["annotations"] == {"a": "b"}


def test_the_operators_pod_is_restricted_and_stoppable() -> None:
    spec = pod()["spec"]
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(container)


def test_one_replica_needs_no_budget_and_two_have_one() -> None:
    def budgets(values: dict[str, Any] | None = None) -> list[str]:
        found = of_kind(charts.rendered(values=values), "PodDisruptionBudget")
        return [each["metadata"]["name"] for each in found]

    assert "gameai-operator" in budgets()
    assert "gameai-operator" not in budgets({"replicas": 1})


def test_rights_have_no_wildcard_and_of_secrets_only_their_creation() -> None:
    for values in (None, EVERY):
        documents = charts.rendered(values=values)
        rules = rights(of_kind(documents, "ClusterRole") + of_kind(documents, "Role"))
        words = [word for rule in rules for part in rule.values() for word in part]
        assert "*" not in words
        of_secrets = [each for each in rules if "secrets" in each["resources"]]
        assert all(each["verbs"] == ["create"] for each in of_secrets)


def test_listed_namespaces_have_their_rights_and_the_cluster_none_to_write() -> None:
    documents = charts.rendered(values={"namespaces": ["one", "two"]})
    everywhere = rights([named(documents, "ClusterRole", "gameai-operator-gameai-system")])
    assert {verb for rule in everywhere for verb in rule["verbs"]} <= {"get", "list", "watch"}
    roles = {each["metadata"]["namespace"] for each in of_kind(documents, "Role")}
    assert roles == {"one", "two", "gameai-system"}
    policy = named(documents, "ValidatingAdmissionPolicy", PROTECTION)
    selector = policy["spec"]["matchConstraints"]["namespaceSelector"]
    assert selector["matchExpressions"][0]["values"] == ["one", "two"]


def test_deletion_protection_speaks_of_all_our_kinds_and_can_be_left_out() -> None:
    policy = named(charts.rendered(), "ValidatingAdmissionPolicy", PROTECTION)
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    assert set(rules[0]["resources"]) == {each.plural for each in crd.DECLARED}
    assert rules[1]["resources"] == ["namespaces"]
    without = charts.rendered(values={"deletionProtection": {"enabled": False}})
    names = [each["metadata"]["name"] for each in of_kind(without, "ValidatingAdmissionPolicy")]
    assert names == [BOUNDS, VIEWS]


def test_the_operators_own_token_is_bounded_unless_that_is_switched_off() -> None:
    policy = named(charts.rendered(), "ValidatingAdmissionPolicy", BOUNDS)
    [condition] = policy["spec"]["matchConditions"]
    account = "system:serviceaccount:gameai-system:gameai-operator"
    assert condition["expression"] == f"request.userInfo.username == '{account}'"
    written = {
        (group, resource)
        for rule in rights(
            [named(charts.rendered(), "ClusterRole", "gameai-operator-gameai-system")]
        )
        if {"create", "patch", "delete"} & set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if resource not in ("events", "modeltiers") and not resource.endswith("/status")
    }
    bounded = {
        (group, resource)
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert bounded == written, "every kind that it may write is bounded"
    without = charts.rendered(values={"policy": {"operatorBounds": False}})
    names = [each["metadata"]["name"] for each in of_kind(without, "ValidatingAdmissionPolicy")]
    assert names == [PROTECTION, VIEWS]


def test_a_gateways_tokens_are_its_defaults_unless_the_chart_says_otherwise() -> None:
    def arguments(**tokens: Any) -> list[str]:
        documents = charts.rendered(values={"gateway": {"tokens": tokens}} if tokens else {})
        pod = named(documents, "Deployment", "gameai-operator-gateway")["spec"]["template"]["spec"]
        return [str(each) for each in pod["containers"][0]["args"]]

    assert not any(each.startswith(("--audience", "--token-hours")) for each in arguments())
    assert {"--audience=two", "--token-hours=1.5"} <= set(arguments(audience="two", maxHours=1.5))


def test_the_crds_chart_holds_every_kind_and_keeps_them_when_it_goes() -> None:
    documents = charts.rendered(charts.CRDS)
    for document in documents:
        assert document["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
    by_name = {each["metadata"]["name"]: each for each in documents}
    assert by_name == {each.name: crd.document(each) for each in crd.DEFINITIONS}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replica": 2}, "replica"),
        ({"workloads": {"image": ""}}, "image"),
        ({"namespaces": ["Games"]}, "namespaces"),
        ({"policy": {"allowedHostPaths": ["models"]}}, "allowedHostPaths"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"image": {"tag": "1@sha256:ab"}}, "tag"),
        ({"commonLabels": {"gameai.dev/tier": "x"}}, "gameai.dev/tier"),
        ({"podSecurity": {"userIds": "Any"}}, "userIds"),
        ({"workloads": {"worldsAtATime": "0%"}}, "worldsAtATime"),
        ({"network": {"dns": {"ports": []}}}, "ports"),
        ({"capacity": {"spot": []}}, "spot"),
        ({"gateway": {"replicas": 0}}, "replicas"),
        ({"gateway": {"autoscaling": {"minReplicas": 20}}}, "minReplicas must be at most"),
        ({"gateway": {"autoscaling": {"cpuPercent": 0}}}, "cpuPercent"),
        ({"gateway": {"tls": {"secret": "x"}}}, "secret"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values: dict[str, Any], word: str) -> None:
    with pytest.raises(helm_python.HelmError, match=word):
        charts.rendered(values=values)


LABELS = {"cost-center": "games", "answer": "yes"}


DIGEST = f"sha256:{'ab' * 32}"


def test_settings_of_other_clusters_reach_the_operator() -> None:
    values = {
        "commonLabels": LABELS,
        "podSecurity": {"userIds": "Namespace"},
        "network": {
            "dns": {
                "namespace": "openshift-dns",
                "podLabels": {
                    "k8s-app": None,
                    "dns.operator.openshift.io/daemonset-dns": "default",
                },
                "ports": [5353],
            }
        },
        "workloads": {"worldsAtATime": "10%"},
    }
    made = operator_settings(values)
    assert dict(made.pods.labels) == LABELS
    assert made.pods.fixed_ids is False
    assert made.network.dns_ports == (5353,)
    assert made.network.dns_labels == ("dns.operator.openshift.io/daemonset-dns=default",)
    assert made.worlds_at_a_time.of(42) == 5
    for name in ("gameai-operator", GATEWAY):
        template = named(charts.rendered(values=values), "Deployment", name)["spec"]["template"]
        assert "runAsUser" not in template["spec"]["securityContext"]
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_common_labels_stand_on_every_object_and_in_every_pod() -> None:
    documents = charts.rendered(values={"commonLabels": LABELS})
    for each in documents:
        assert LABELS.items() <= each["metadata"]["labels"].items(), each["metadata"]["name"]
        if each["kind"] == "Deployment":
            assert LABELS.items() <= each["spec"]["template"]["metadata"]["labels"].items()
            assert not LABELS.items() & each["spec"]["selector"]["matchLabels"].items()


def test_a_new_chart_alone_restarts_no_gateway() -> None:
    for name in ("gameai-operator", GATEWAY):
        template = named(charts.rendered(), "Deployment", name)["spec"]["template"]
        labels = template["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "gameai-operator:0.1.0"),
        ({"tag": "9"}, "gameai-operator:9"),
        ({"digest": DIGEST}, f"gameai-operator@{DIGEST}"),
        ({"tag": "9", "digest": DIGEST}, f"gameai-operator:9@{DIGEST}"),
    ],
)
def test_the_operators_image_is_named_by_tag_or_digest(
    image: dict[str, str], expected: str
) -> None:
    assert pod({"image": image})["spec"]["containers"][0]["image"] == expected


NUMBERLIKE = ("2024", "0x1f", "07", "0b1", "1e3", "on", "yes", "true", "null")


TEMPLATES = sorted((charts.OPERATOR / "templates").glob("*.yaml"))


@pytest.mark.parametrize("name", NUMBERLIKE)
def test_names_that_look_like_numbers_are_texts(name: str) -> None:
    for each in charts.rendered(name=name, namespace=name, values={"namespaces": [name]}):
        metadata = each["metadata"]
        texts = [metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values()]
        texts += [part for one in each.get("subjects", ()) for part in one.values()]
        assert all(isinstance(text, str) for text in texts), each["kind"]
        if each["kind"] == "Service":
            assert metadata["name"][0].isalpha(), "a Service's name begins with a letter"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_names_in_templates_are_quoted_by_rule(template: Path) -> None:
    names = r"(?:\b[a-zA-Z]*[nN]ame|namespace): (\{\{[^}]*\}\})"
    bare = [each for each in re.findall(names, template.read_text()) if "quote" not in each]
    assert bare == []


def test_as_a_subchart_it_takes_a_condition_and_a_name_of_its_own() -> None:
    plain = {"enabled": True, "nameOverride": "ai", "tags": {"games": True}}
    names = {each["metadata"]["name"] for each in charts.rendered(values=plain, name="studio")}
    assert {"studio-ai", "studio-ai-gateway", "studio-ai-metrics"} <= names
    full = charts.rendered(values={"fullnameOverride": "brain"}, name="studio")
    assert {"brain", "brain-gateway"} <= {each["metadata"]["name"] for each in full}


def test_the_clusters_own_roles_may_use_our_kinds() -> None:
    roles = of_kind(charts.rendered(), "ClusterRole")
    labelled = {
        label.rpartition("-")[2]: {verb for rule in each["rules"] for verb in rule["verbs"]}
        for each in roles
        for label in each["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert labelled["view"] == {"get", "list", "watch"}
    assert {"create", "delete", "patch"} <= labelled["edit"] & labelled["admin"]
    without = of_kind(charts.rendered(values={"aggregateRoles": False}), "ClusterRole")
    assert not any("aggregate" in label for each in without for label in each["metadata"]["labels"])


@pytest.mark.parametrize("chart", [charts.OPERATOR, charts.CRDS], ids=lambda path: path.name)
def test_a_chart_has_nothing_to_complain_of(chart: Any) -> None:
    report = helm_python.lint(chart, strict=True, namespace="gameai-system")
    complaints = [each for each in report["messages"] if each["severity"] > 1]
    assert (complaints, report["errors"]) == ([], [])


@pytest.mark.parametrize("chart", [charts.OPERATOR, charts.CRDS], ids=lambda path: path.name)
def test_charts_carry_the_projects_version(chart: Any) -> None:
    project = (charts.CHARTS.parent / "pyproject.toml").read_text()
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert f'\nversion = "{described["appVersion"]}"\n' in project
    assert described["version"] == described["appVersion"]
