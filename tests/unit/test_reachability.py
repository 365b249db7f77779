"""Who may reach whom, on which port: the rendered NetworkPolicies under NetworkPolicy's own semantics."""

from typing import Any

import pytest
from gameai_devcluster import charts
from gameai_devcluster.testing.reachability import End, Network
from gameai_devcluster.testing.rendering import decided
from gameai_operator.controller.manifest import Key
from gameai_operator.settings import NetworkSettings, Settings
from support import tiers, worlds

OPEN_FROM = {
    "namespaceSelector": {"matchLabels": {"team": "servers"}},
    "podSelector": {"matchLabels": {"app": "lobby"}},
    "ports": [50051],
}
FRIENDLY: dict[str, Any] = {
    "allowFrom": [OPEN_FROM, {"podSelector": {}, "ports": [9000]}],
    "allowTo": [
        {"ipBlock": {"cidr": "0.0.0.0/0"}, "ports": [443]},
        {"namespaceSelector": {}, "ports": [5432]},
        {"ipBlock": {"cidr": "198.51.100.9/24"}},
    ],
}


def policies(root: dict[str, Any], settings: Settings | None = None) -> list[dict[str, Any]]:
    made = decided(root, settings, references=worlds.READY_TIERS).wanted or ()
    return [dict(each) for each in made if each["kind"] == "NetworkPolicy"]


def named(root: dict[str, Any], name: str) -> dict[str, Any]:
    return {**root, "metadata": {**root["metadata"], "name": name}}


def of_chart(**values: Any) -> list[dict[str, Any]]:
    made = charts.rendered(values=values, namespace="gameai-system")
    return [each for each in made if each["kind"] == "NetworkPolicy"]


SOURCE = {"service": "weather-manager", "gauge": "players_online", "port": 9100}

NETWORK = Network(
    policies=[
        *of_chart(bus={"mode": "Managed"}),
        *policies(worlds.resource(), Settings(bus_endpoint="bus.gameai-system.svc:4222")),
        *policies(named(worlds.resource(network=FRIENDLY), "friendly")),
        *policies(named(worlds.resource(network={"mode": "Open"}), "open")),
        *policies(named(worlds.resource(players={"source": SOURCE}), "counted")),
        *policies(tiers.resource()),
        *policies(
            tiers.resource(
                name="claimed",
                model={"source": {"persistentVolumeClaim": {"claimName": "m", "path": "m"}}},
            )
        ),
        *policies(
            tiers.resource(
                name="mirrored",
                model={
                    "source": {
                        "huggingFace": {
                            "repository": "a/b",
                            "endpoint": "http://hub.models.svc:8090",
                        }
                    }
                },
            )
        ),
    ],
    namespaces={"game-servers": {"team": "servers"}},
)


def of_world(name: str, service: str = "weather-manager", namespace: str = "eldermoor") -> End:
    labels = {"gameai.dev/world": name, "gameai.dev/service": service}
    return End(namespace=namespace, labels=labels)


def engine(name: str, namespace: str = "eldermoor") -> End:
    labels = {
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/part-of": "gameai",
        "gameai.dev/tier": name,
    }
    return End(namespace=namespace, labels=labels)


def pod(namespace: str, **labels: str) -> End:
    return End(namespace=namespace, labels={k.replace("__", "/"): v for k, v in labels.items()})


def address(text: str) -> End:
    return End(address=text)


MOOR, TIME = of_world("moor"), of_world("moor", "time-manager")
FRIEND, OPEN = of_world("friendly"), of_world("open")
COUNTED = of_world("counted")
NAMESAKE = of_world("moor", namespace="elsewhere")
GOLD, CLAIMED, MIRRORED = engine("gold"), engine("claimed"), engine("mirrored")
NEIGHBOUR = pod("eldermoor", app="shop")
ADDRESSED = End(namespace="eldermoor", labels={"app": "shop"}, address="10.1.2.3")
STRANGER = pod("elsewhere", app="shop")
LOBBY = pod("game-servers", app="lobby")
OTHER_SERVER = pod("game-servers", app="match")
PROMETHEUS = pod("monitoring", app="prometheus")
DNS = End(namespace="kube-system", labels={"k8s-app": "kube-dns"})
OTHER_SYSTEM = pod("kube-system", app="metrics-server")
OURS = {"app.kubernetes.io/instance": "gameai-operator"}
GATEWAY = End(namespace="gameai-system", labels=OURS | {"app.kubernetes.io/name": "gameai-gateway"})
SCALER = End(namespace="gameai-system", labels=OURS | {"app.kubernetes.io/name": "gameai-scaler"})
OPERATOR = End(
    namespace="gameai-system", labels=OURS | {"app.kubernetes.io/name": "gameai-operator"}
)
BUS = End(namespace="gameai-system", labels=OURS | {"app.kubernetes.io/name": "gameai-bus"})
BUS_CONTROLLER = End(
    namespace="gameai-system", labels=OURS | {"app.kubernetes.io/name": "gameai-bus-controller"}
)
HUB_POD = End(namespace="models", labels={"app": "hub"}, ports={"http": 9000, "https": 9443})
NODE_DNS, IDENTITY = address("169.254.20.10"), address("169.254.170.23")
METADATA, METADATA_6 = address("169.254.169.254"), address("fd00:ec2::254")
INTERNET, INTERNET_6 = address("203.0.113.9"), address("2001:db8::9")

TABLE = [
    # a world's services
    ("its own services call each other", TIME, MOOR, 50051, True),
    ("its namesake in another namespace is a stranger", NAMESAKE, MOOR, 50051, False),
    ("another world of its namespace is a stranger", FRIEND, MOOR, 50051, False),
    ("a neighbour is a stranger", NEIGHBOUR, MOOR, 50051, False),
    ("a foreign pod is a stranger", STRANGER, MOOR, 50051, False),
    ("metrics are read", PROMETHEUS, MOOR, 8080, True),
    ("who reads metrics calls no service", PROMETHEUS, MOOR, 50051, False),
    ("names are asked for", MOOR, DNS, 53, True),
    ("of the system's pods only DNS is open", MOOR, OTHER_SYSTEM, 53, False),
    ("nodes answer DNS", MOOR, NODE_DNS, 53, True),
    ("tokens are changed for credentials", MOOR, IDENTITY, 80, True),
    ("instance metadata is closed", MOOR, METADATA, 80, False),
    ("the gateway is called", MOOR, GATEWAY, 50051, True),
    ("other pods beside the gateway are not", MOOR, OPERATOR, 50051, False),
    ("engines are called by the gateway only", MOOR, GOLD, 8000, False),
    ("the internet is closed", MOOR, INTERNET, 443, False),
    ("the scaler reads no metrics of a world", SCALER, MOOR, 8080, False),
    ("unless a service counts players", SCALER, COUNTED, 9100, True),
    ("on the port of the gauge only", SCALER, COUNTED, 50051, False),
    ("and nothing else reaches that port", NEIGHBOUR, COUNTED, 9100, False),
    # allowFrom and allowTo
    ("a named pod of a named namespace calls", LOBBY, FRIEND, 50051, True),
    ("on the named port only", LOBBY, FRIEND, 8080, False),
    ("other pods of that namespace do not", OTHER_SERVER, FRIEND, 50051, False),
    ("pods of that label elsewhere do not", pod("elsewhere", app="lobby"), FRIEND, 50051, False),
    ("any pod of its own namespace, where no namespace is named", NEIGHBOUR, FRIEND, 9000, True),
    ("but none of another", STRANGER, FRIEND, 9000, False),
    ("named addresses are called", FRIEND, INTERNET, 443, True),
    ("on the named port", FRIEND, INTERNET, 80, False),
    ("of all addresses, instance metadata stays closed", FRIEND, METADATA, 443, False),
    ("an empty selector names every namespace", FRIEND, pod("elsewhere", app="db"), 5432, True),
    ("without ports, every port", FRIEND, address("198.51.100.77"), 7777, True),
    # the operator and the gateway
    ("any pod reaches the gateway, which asks for a token", STRANGER, GATEWAY, 50051, True),
    ("and none its metrics, which name tenants", STRANGER, GATEWAY, 8080, False),
    ("but who reads metrics", PROMETHEUS, GATEWAY, 8080, True),
    ("and the scaler", SCALER, GATEWAY, 8080, True),
    ("the scaler asks no questions", SCALER, GATEWAY, 22, False),
    ("the scaler's metrics are read", PROMETHEUS, SCALER, 8080, True),
    ("and by no others", STRANGER, SCALER, 8080, False),
    ("who reads metrics asks no questions", PROMETHEUS, GATEWAY, 22, False),
    ("no pod calls the operator", STRANGER, OPERATOR, 8080, False),
    ("not even a gateway", GATEWAY, OPERATOR, 8080, False),
    ("but for its metrics", PROMETHEUS, OPERATOR, 8080, True),
    # the event bus
    ("pods of worlds reach the bus, which asks for a token", MOOR, BUS, 4222, True),
    ("where the operator knows of one", FRIEND, BUS, 4222, False),
    ("but not its status, which names tenants", MOOR, BUS, 8222, False),
    ("nor its servers' own port", MOOR, BUS, 6222, False),
    ("servers of the bus find each other", BUS, BUS, 6222, True),
    ("other pods do not reach the bus", STRANGER, BUS, 4222, False),
    ("its controller does", BUS_CONTROLLER, BUS, 4222, True),
    ("no pod calls the controller", STRANGER, BUS_CONTROLLER, 8080, False),
    ("but for its metrics", PROMETHEUS, BUS_CONTROLLER, 8080, True),
    # an open world
    ("an open world hears everybody", STRANGER, OPEN, 50051, True),
    ("an open world calls everybody", OPEN, INTERNET, 443, True),
    # a tier's engines
    ("the gateway calls an engine", GATEWAY, GOLD, 8000, True),
    ("on its port only", GATEWAY, GOLD, 22, False),
    ("its own namespace does not", NEIGHBOUR, GOLD, 8000, False),
    ("nor a world of its namespace", MOOR, GOLD, 8000, False),
    ("nor the operator beside the gateway", OPERATOR, GOLD, 8000, False),
    ("another namespace does not", STRANGER, GOLD, 8000, False),
    ("nor a world of another namespace", NAMESAKE, GOLD, 8000, False),
    ("its metrics are read on the same port", PROMETHEUS, GOLD, 8000, True),
    ("the scaler asks the agent of an engine", SCALER, GOLD, 8080, True),
    ("and not the engine", SCALER, GOLD, 8000, False),
    ("the agent's metrics are read", PROMETHEUS, GOLD, 8080, True),
    ("no other pod reaches the agent", GATEWAY, GOLD, 8080, False),
    ("nor does its own namespace", NEIGHBOUR, GOLD, 8080, False),
    ("an engine asks for names", GOLD, DNS, 53, True),
    ("an engine changes its token for credentials", GOLD, IDENTITY, 80, True),
    ("an engine downloads its model", GOLD, INTERNET, 443, True),
    ("also by IPv6", GOLD, INTERNET_6, 443, True),
    ("and nothing else", GOLD, INTERNET, 80, False),
    ("never from instance metadata", GOLD, METADATA, 443, False),
    ("nor from its IPv6 address", GOLD, METADATA_6, 443, False),
    ("an engine calls no other pods", GOLD, NEIGHBOUR, 8443, False),
    ("where blocks match pods too, it reaches them on the hub's port", GOLD, ADDRESSED, 443, True),
    ("and on no other", GOLD, ADDRESSED, 8443, False),
    ("a model on a volume needs no internet", CLAIMED, INTERNET, 443, False),
    ("a mirror in the cluster is called, on the URL's port", MIRRORED, HUB_POD, 8090, True),
    ("or where its pods name a port after the scheme", MIRRORED, HUB_POD, 9000, True),
    ("and on no other port of that namespace", MIRRORED, HUB_POD, 5432, False),
    ("but no other namespace", MIRRORED, STRANGER, 8090, False),
    ("then the internet is closed", MIRRORED, INTERNET, 443, False),
]


@pytest.mark.parametrize(
    ("_", "caller", "called", "port", "expected"),
    TABLE,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_who_reaches_whom(_: str, caller: End, called: End, port: int, expected: bool) -> None:
    assert NETWORK.reaches(caller, called, port) is expected


def test_a_chart_may_name_who_reaches_the_gateway_and_none_for_metrics() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"team": "servers"}}}]
    values = {"gateway": {"allowFrom": peers}, "network": {"metricsNamespaces": []}}
    network = Network(policies=of_chart(**values), namespaces={"game-servers": {"team": "servers"}})
    assert network.reaches(LOBBY, GATEWAY, 50051)
    assert not network.reaches(STRANGER, GATEWAY, 50051)
    assert not network.reaches(PROMETHEUS, GATEWAY, 8080)
    assert not network.reaches(PROMETHEUS, OPERATOR, 8080)
    assert of_chart(network={"policies": False}) == []
    assert len(of_chart(gateway={"enabled": False}, scaler={"enabled": False})) == 1


def test_names_are_asked_for_by_udp_too() -> None:
    assert NETWORK.reaches(MOOR, DNS, 53, "UDP")
    assert not NETWORK.reaches(MOOR, DNS, 9153, "UDP")


def test_a_pod_that_no_policy_selects_is_open() -> None:
    assert NETWORK.reaches(STRANGER, NEIGHBOUR, 1234)


def test_a_tier_with_a_mirror_on_a_plain_port_gets_that_port_and_https() -> None:
    source = {"huggingFace": {"repository": "a/b", "endpoint": "http://hub.example.com/models"}}
    network = Network(policies=policies(tiers.resource(model={"source": source})))
    found = [port for port in (80, 443, 8080) if network.reaches(GOLD, INTERNET, port)]
    assert found == [80, 443]


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.170.2", "168.63.129.16", "[fd00:ec2::254]", "[fd20:ce::254]"],
)
def test_a_mirror_at_an_address_of_instance_metadata_opens_nothing(host: str) -> None:
    source = {"huggingFace": {"repository": "a/b", "endpoint": f"http://{host}/models"}}
    network = Network(policies=policies(tiers.resource(model={"source": source})))
    called = address(host.strip("[]"))
    assert not any(network.reaches(GOLD, called, port) for port in (80, 443))
    assert not network.reaches(GOLD, INTERNET, 80)


@pytest.mark.parametrize("cidr", ["169.254.169.254/32", "169.254.0.0/16", "fd00:ec2::254/128"])
def test_a_block_of_instance_metadata_opens_nothing_rather_than_everything(cidr: str) -> None:
    allow_to = [{"ipBlock": {"cidr": cidr}}]
    network = Network(policies=policies(worlds.resource(network={"allowTo": allow_to})))
    assert not network.reaches(MOOR, address(cidr.partition("/")[0]), 80)
    assert not network.reaches(MOOR, INTERNET, 443)


@pytest.mark.parametrize("root", [worlds.resource(), tiers.resource()], ids=["world", "tier"])
def test_where_others_make_policies_none_is_rendered(root: dict[str, Any]) -> None:
    assert policies(root)
    assert not policies(root, Settings(network=NetworkSettings(policies=False)))


def test_a_cluster_may_have_no_metrics_readers_and_other_dns() -> None:
    settings = NetworkSettings(
        metrics_namespaces=(),
        identity_addresses=(),
        dns_addresses=(),
        dns_namespace="openshift-dns",
        dns_labels=("dns.operator.openshift.io/daemonset-dns=default",),
    )
    found = Network(policies=policies(worlds.resource(), Settings(network=settings)))
    labels = {"dns.operator.openshift.io/daemonset-dns": "default"}
    assert found.reaches(MOOR, End(namespace="openshift-dns", labels=labels), 53)
    assert not found.reaches(MOOR, DNS, 53)
    assert not found.reaches(MOOR, NODE_DNS, 53)
    assert not found.reaches(MOOR, IDENTITY, 80)
    assert not found.reaches(PROMETHEUS, MOOR, 8080)


def test_several_readers_of_metrics_are_admitted() -> None:
    settings = NetworkSettings(metrics_namespaces=("monitoring", "observability"))
    found = Network(policies=policies(worlds.resource(), Settings(network=settings)))
    assert all(found.reaches(pod(each), MOOR, 8080) for each in settings.metrics_namespaces)


@pytest.mark.parametrize("caller", ["Namespace", "Metrics", "Gateway"])
def test_the_contract_names_who_may_call_vllm(caller: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameai_operator.tier.network.VLLM_CALLERS", (caller,))
    found = Network(policies=policies(tiers.resource()))
    ends = {"Namespace": NEIGHBOUR, "Metrics": PROMETHEUS, "Gateway": GATEWAY}
    assert [name for name, end in ends.items() if found.reaches(end, GOLD, 8000)] == [caller]


@pytest.mark.parametrize(
    ("endpoint", "open_at", "closed_at"),
    [
        ("http://203.0.113.9:8080/hub", (INTERNET, 8080), (address("203.0.113.10"), 8080)),
        ("http://[2001:db8::9]:8080", (INTERNET_6, 8080), (address("2001:db8::10"), 8080)),
        ("http://hub:8090", (pod("eldermoor", app="hub"), 8090), (HUB_POD, 9000)),
        ("https://hub.models.svc.cluster.local", (HUB_POD, 9443), (INTERNET, 443)),
        ("https://hub.models.svc.our.domain", (HUB_POD, 443), (HUB_POD, 5432)),
        ("https://hub.models.svc.", (HUB_POD, 9443), (INTERNET, 443)),
        ("http://hub:abc", (INTERNET, 443), (INTERNET, 80)),
        ("http://hub:99999", (INTERNET, 443), (INTERNET, 80)),
        ("http://[bad", (INTERNET, 443), (INTERNET, 80)),
    ],
)
def test_a_mirror_is_reached_where_it_is(
    endpoint: str, open_at: tuple[End, int], closed_at: tuple[End, int]
) -> None:
    source = {"huggingFace": {"repository": "a/b", "endpoint": endpoint}}
    network = Network(policies=policies(tiers.resource(model={"source": source})))
    assert network.reaches(GOLD, *open_at)
    assert not network.reaches(GOLD, *closed_at)


def test_a_selector_with_a_key_that_is_none_stalls_and_changes_nothing() -> None:
    network = {"allowFrom": [{"podSelector": {"matchLabels": {"not a key!": "x"}}}]}
    decision = decided(worlds.resource(network=network), references=worlds.READY_TIERS)
    assert "NetworkPolicy" not in {each["kind"] for each in decision.wanted}
    assert Key("NetworkPolicy", "eldermoor", "moor-world") in decision.keep
    stalled = next(each for each in decision.conditions if each.type == "Stalled")
    assert stalled.reason == "NetworkInvalid"
    assert "'not a key!' is not a valid label key" in stalled.message
