"""What the API server refuses, and the sentence it says: every rule has a refused and an accepted case."""

from typing import Any

import pytest
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_operator.api import crd
from support.admission import MODEL, attempt, changed, external, sentences
from support.live import manifest, world

HUB = {"huggingFace": {"repository": "a/b"}}
CLAIM = {"persistentVolumeClaim": {"claimName": "models", "path": "a/b"}}
NAME_SENTENCE = crd.NAME_RULE.message


# rule's sentence → (field, a value that is refused, a value that is accepted)
EVENT = {"name": "raid", "cron": "0 19 * * 5", "durationMinutes": 60}
RULES: dict[str, tuple[str, Any, Any]] = {
    NAME_SENTENCE: ("metadata.name", "a" * 31, "a" * 30),
    "exactly one of vllm, external must be set": (
        "spec",
        {"class": "Bronze", "model": MODEL, "engine": {"vllm": {}, **external()["engine"]}},
        external(),
    ),
    "model is required, and must be absent with engine.external, which names its own model": (
        "spec",
        {**external(), "model": MODEL},
        external(),
    ),
    "engine.external needs class Bronze: answers of other networks take seconds": (
        "spec",
        {**external(), "class": "Silver"},
        external(),
    ),
    "scaling does not go with engine.external": (
        "spec",
        {**external(), "scaling": {"maxReplicas": 3}},
        {**external(), "replicas": 3},
    ),
    "capacity.headroomReplicas does not go with engine.external": (
        "spec",
        {**external(), "capacity": {"headroomReplicas": 1}},
        {**external(), "capacity": {"spotPercent": 50}},
    ),
    "with secretRef the url must begin with https://, or name a Service of this cluster": (
        "spec",
        external(url="http://engines.example/v1"),
        external(url="http://engines.studio.svc/v1"),
    ),
    "exactly one of huggingFace, persistentVolumeClaim must be set": (
        "spec.model.source",
        HUB | CLAIM,
        CLAIM,
    ),
    "endpoint must be a URL; its port": (
        "spec.model.source",
        {"huggingFace": {"repository": "a/b", "endpoint": "http://hub:99999"}},
        {"huggingFace": {"repository": "a/b", "endpoint": "http://hub:65535/x"}},
    ),
    "endpoint must not be an address of the instance metadata": (
        "spec.model.source",
        {"huggingFace": {"repository": "a/b", "endpoint": "http://[FD00:EC2::254]/x"}},
        {"huggingFace": {"repository": "a/b", "endpoint": "http://[fd00:1::254]/x"}},
    ),
    "path must not contain '.' or '..'": (
        "spec.model.source",
        {"persistentVolumeClaim": {"claimName": "models", "path": "a/../b"}},
        {"persistentVolumeClaim": {"claimName": "models", "path": "a/..b"}},
    ),
    "exactly one of emptyDir, persistentVolumeClaim, hostPath must be set": (
        "spec.model.cache",
        {"emptyDir": {}, "hostPath": {"path": "/mnt/models"}},
        {"emptyDir": {"sizeLimit": 5}},
    ),
    "hostPath.path must not contain '.' or '..'": (
        "spec.model.cache",
        {"hostPath": {"path": "/mnt/../etc"}},
        {"hostPath": {"path": "/mnt/models"}},
    ),
    "namespaceSelector is required with from: Selector, and not allowed otherwise": (
        "spec.access",
        {"from": "All", "namespaceSelector": {}},
        {"from": "Selector", "namespaceSelector": {"matchLabels": {"studio": "games"}}},
    ),
    "values are required with the operators In and NotIn, and not allowed with others": (
        "spec.access",
        {
            "from": "Selector",
            "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
        },
        {
            "from": "Selector",
            "namespaceSelector": {
                "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]
            },
        },
    ),
    "image must be an image reference, REGISTRY/NAME:TAG": (
        "spec.engine.vllm.image",
        "https://registry.example/vllm:v0.32.0",
        "registry.example/vllm:v0.32.0",
    ),
    "env must not set GAMEAI_*, NVIDIA_*": (
        "spec.engine.vllm.env",
        [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
        [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}],
    ),
    "value goes with operator Equal, and only with it": (
        "spec.hardware.tolerations",
        [{"key": "k", "value": "v"}],
        [{"key": "k", "operator": "Equal", "value": "v"}],
    ),
    "maxSurge and maxUnavailable must not both be 0, because then no pod can be replaced": (
        "spec.rollout",
        {"maxSurge": 0},
        {"maxSurge": 0, "maxUnavailable": 1},
    ),
    "minReplicas must not be above maxReplicas": (
        "spec.scaling",
        {"minReplicas": 5, "maxReplicas": 4},
        {"minReplicas": 4, "maxReplicas": 4},
    ),
    "scaling.minReplicas 0 needs class Bronze and scaling.driver BuiltIn: set it to 1 or more": (
        "spec.scaling",
        {"minReplicas": 0, "maxReplicas": 4},
        {"minReplicas": 1, "maxReplicas": 4},
    ),
    "schedule[].minReplicas must not be above maxReplicas": (
        "spec.scaling",
        {"maxReplicas": 4, "schedule": [{**EVENT, "minReplicas": 5}]},
        {"maxReplicas": 4, "schedule": [{**EVENT, "minReplicas": 4}]},
    ),
    "podLabels must not use gameai.dev/ or app.kubernetes.io/: the operator sets them": (
        "spec.podLabels",
        {"gameai.dev/tier": "x"},
        {"team": "npc"},
    ),
    "podAnnotations must not use gameai.dev/ or app.kubernetes.io/: the operator sets them": (
        "spec.podAnnotations",
        {"app.kubernetes.io/name": "x"},
        {"karpenter.sh/do-not-disrupt": "true"},
    ),
}
REACTION = {"name": "reaction", "tierRef": {"name": "gold"}}
DIALOGUE = {"name": "dialogue", "tierRef": {"name": "silver"}}
OWN = {"name": "duel", "image": "registry.example/duel:1"}
WEATHER = {"name": "weather-manager"}
WORLD_RULES: dict[str, tuple[str, Any, Any]] = {
    NAME_SENTENCE: ("metadata.name", "1st", "a" * 30),
    "speed must be above 0: use paused to stop": ("spec.clock.speed", "0.0", "0.5"),
    "startAt must be 1970-01-01T00:00:00Z or later": (
        "spec.clock.startAt",
        "0000-01-01T00:00:00Z",
        "2026-03-01T08:00:00Z",
    ),
    "expected must not be above maximum": (
        "spec.players",
        {"expected": 11, "maximum": 10},
        {"expected": 10, "maximum": 10},
    ),
    "deferredTo must name another role of this world": (
        "spec.roles",
        [REACTION | {"deferredTo": "reaction"}, DIALOGUE | {"deferredTo": "nobody"}],
        [REACTION | {"deferredTo": "dialogue"}, DIALOGUE],
    ),
    "fallback must name each step at most once": (
        "spec.roles",
        [REACTION | {"fallback": ["Default", "Default"]}],
        [REACTION | {"fallback": ["StaleCache", "Default"]}, DIALOGUE | {"fallback": []}],
    ),
    "port is only valid with image": (
        "spec.services",
        [WEATHER | {"port": 7000}],
        [OWN | {"port": 7000}],
    ),
    "probe is only valid with image": (
        "spec.services",
        [WEATHER | {"probe": "TCP"}],
        [OWN | {"probe": "TCP"}],
    ),
    "image must be an image reference, REGISTRY/NAME:TAG without https://, its name in small": (
        "spec.services",
        [OWN | {"image": "https://registry.example/duel:1.2"}],
        [OWN | {"image": "registry.example/duel:1.2"}],
    ),
    "writablePaths is only valid with image": (
        "spec.services",
        [WEATHER | {"writablePaths": ["/data"]}],
        [OWN | {"writablePaths": ["/data"]}],
    ),
    "writablePaths must not hold '.' or '..', nor lie in /etc/gameai": (
        "spec.services",
        [OWN | {"writablePaths": ["/etc/gameai/cache"]}],
        [OWN | {"writablePaths": ["/etc/duel"]}],
    ),
    "env must not set GAMEAI_*: the operator sets": (
        "spec.services",
        [OWN | {"env": [{"name": "GAMEAI_WORLD", "value": "x"}]}],
        [OWN | {"env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]}],
    ),
    "exactly one of configMapRef, secretRef must be set": (
        "spec.services",
        [OWN | {"envFrom": [{}]}],
        [OWN | {"envFrom": [{"secretRef": {"name": "keys"}}]}],
    ),
}
EXTERNAL = {"host": "db.games.svc", "database": "games", "secretRef": {"name": "db"}}
WORLD_RULES |= {
    "caConfigMap is required with mode: VerifyFull": (
        "spec.database",
        {"external": EXTERNAL | {"tls": {"mode": "VerifyFull"}}},
        {"external": EXTERNAL | {"tls": {"mode": "Require"}}},
    ),
    "players.source.service must name a service of this world": (
        "spec",
        {"services": [OWN], "players": {"source": {"service": "gone", "gauge": "online"}}},
        {"services": [OWN], "players": {"source": {"service": "duel", "gauge": "online"}}},
    ),
    "consumes is only valid with image, or for world-state: other built-in services consume no events": (
        "spec.services",
        [WEATHER | {"consumes": ["weather-manager"]}],
        [WEATHER, OWN | {"consumes": ["weather-manager"]}],
    ),
    "services[].consumes must name services of this world": (
        "spec.services",
        [OWN | {"consumes": ["weather-manager"]}],
        [WEATHER, OWN | {"consumes": ["weather-manager", "duel"]}],
    ),
    "cidr must be an address range": (
        "spec.network",
        {"allowTo": [{"ipBlock": {"cidr": "10.0.0.1"}}]},
        {"allowTo": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]},
    ),
    "cidr must not be inside the instance metadata range": (
        "spec.network",
        {"allowTo": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]},
        {"allowTo": [{"ipBlock": {"cidr": "169.0.0.0/8"}}]},
    ),
    "either ipBlock, or namespaceSelector and podSelector": (
        "spec.network",
        {"allowFrom": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]},
        {"allowFrom": [{"podSelector": {}, "namespaceSelector": {}}]},
    ),
    "allowFrom and allowTo are only valid with mode: Isolated": (
        "spec.network",
        {"mode": "Open", "allowFrom": [{"podSelector": {}}]},
        {"mode": "Open"},
    ),
    "values are required with the operators In and NotIn, and not allowed with others": (
        "spec.network",
        {
            "allowFrom": [
                {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            ]
        },
        {
            "allowFrom": [
                {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
            ]
        },
    ),
}
# Rules over an edit: sentence → (field, before, refused, accepted).
EDITS: dict[str, tuple[str, Any, Any, Any]] = {
    "class is immutable: create a new ModelTier and change tierRef of the roles": (
        "spec.class",
        "Gold",
        "Silver",
        "Gold",
    ),
}
WORLD_FORMS: list[tuple[str, Any, str]] = [
    ("spec.services", [{"name": "a"}, {"name": "a"}], "Duplicate value"),
    ("spec.services", [{"name": "a" * 25}], "may not be more than 24"),
    ("spec.services", [{"name": "a", "port": 80}], "should be greater than or equal to 1024"),
    ("spec.services", [WEATHER | {"settings": {"climate": True}}], "must be of type"),
    ("spec.roles", [{"name": "a"}], "spec.roles[0].tierRef: Required value"),
    ("spec.roles", [REACTION | {"deadlineMs": 0}], "should be greater than or equal to 1"),
    ("spec.roles", [REACTION | {"fallback": ["Oracle"]}], 'supported values: "FreshCache"'),
    ("spec.roles", [REACTION | {"share": {"weight": 101}}], "should be less than or equal to 100"),
    ("spec.callers", [{"namespace": "a"}], "spec.callers[0].serviceAccount: Required value"),
    ("spec.archetypes", {"configMap": {}}, "spec.archetypes.configMap.name: Required value"),
    ("spec.clock.speed", "fast", "spec.clock.speed in body should match"),
    ("spec.clock.dayLengthMinutes", 0, "should be greater than or equal to 1"),
    ("spec.seed", -1, "should be greater than or equal to 0"),
    ("spec.state", "Asleep", 'supported values: "Running", "Hibernated"'),
    ("spec.sevices", [], 'unknown field "spec.sevices"'),
]
# What the schema itself refuses: (field, value, the server's words).
FORMS: list[tuple[str, Any, str]] = [
    (
        "spec.class",
        "gold",
        'Unsupported value: "gold": supported values: "Gold", "Silver", "Bronze"',
    ),
    ("spec.class", None, "spec.class: Required value"),
    ("spec.model", None, "spec.model: Invalid value: model is required"),
    ("spec.model.source", {}, "exactly one of huggingFace, persistentVolumeClaim must be set"),
    ("spec.replicas", -1, "should be greater than or equal to 0"),
    ("spec.replicas", 1001, "should be less than or equal to 1000"),
    ("spec.capacity.spotPercent", 101, "should be less than or equal to 100"),
    ("spec.hardware.gpus", -1, "should be greater than or equal to 0"),
    ("spec.hardware.memory", "much", "spec.hardware.memory in body should match"),
    ("spec.unknown", 1, 'unknown field "spec.unknown"'),
    ("spec.model.nmae", "x", 'unknown field "spec.model.nmae"'),
    ("spec.pricing", [{"instanceType": "x", "onDemandPerHour": "-1"}], "should match"),
    (
        "spec.engine.vllm.env",
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "Duplicate value",
    ),
    ("spec.hardware.instanceTypes", ["a", "a"], "Duplicate value"),
    ("spec.engine.vllm.startTimeoutSeconds", 1, "should be greater than or equal to 30"),
    ("metadata.name", "1st", NAME_SENTENCE),
]


CASES = [
    *((manifest("default"), sentence, *case) for sentence, case in RULES.items()),
    *((world("default"), sentence, *case) for sentence, case in WORLD_RULES.items()),
]


@pytest.mark.parametrize(
    ("document", "sentence", "where", "refused", "accepted"),
    CASES,
    ids=[f"{case[0]['kind']}: {case[1][:40]}" for case in CASES],
)
def test_a_rule_refuses_with_its_sentence_and_accepts_what_it_asks_for(
    document: Json, sentence: str, where: str, refused: Any, accepted: Any, api: Api
) -> None:
    assert sentence in attempt(api, changed(document, where, refused))
    assert attempt(api, changed(document, where, accepted)) == ""


@pytest.mark.parametrize("sentence", EDITS, ids=lambda text: text[:40])
def test_an_edit_is_refused_with_its_sentence(sentence: str, api: Api, namespace: str) -> None:
    where, before, refused, accepted = EDITS[sentence]
    created = api.create(changed(manifest(namespace), where, before))
    for value, answer in ((refused, sentence), (accepted, "")):
        said = ""
        try:
            api.request(
                "PUT",
                path("ModelTier", namespace, "gold"),
                body=changed(created, where, value),
                query={"dryRun": "All"},
            )
        except ApiError as error:
            said = error.message
        assert answer in said
        assert bool(answer) == bool(said)


@pytest.mark.parametrize(("where", "value", "words"), FORMS, ids=str)
def test_a_malformed_field_is_refused_by_name(where: str, value: Any, words: str, api: Api) -> None:
    assert words in attempt(api, changed(manifest("default"), where, value))


@pytest.mark.parametrize(("where", "value", "words"), WORLD_FORMS, ids=str)
def test_a_malformed_field_of_a_world_is_refused_by_name(
    where: str, value: Any, words: str, api: Api
) -> None:
    assert words in attempt(api, changed(world("default"), where, value))


@pytest.mark.parametrize(
    ("definition", "covered"),
    [(crd.MODEL_TIER, {*RULES, *EDITS}), (crd.GAME_WORLD, {*WORLD_RULES})],
    ids=["ModelTier", "GameWorld"],
)
def test_every_rule_of_the_schema_has_its_cases(
    definition: crd.Definition, covered: set[str]
) -> None:
    schema = crd.document(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    said = set(sentences(schema))
    assert {each for each in said if not any(each.startswith(c) for c in covered)} == set()
    assert len(said) == len(covered)


def test_the_least_tier_is_accepted_and_gets_its_defaults(api: Api) -> None:
    document = manifest("default")
    document["spec"] = {"class": "Bronze", "model": {"source": HUB}}
    where = path("ModelTier", "default")
    made = api.request("POST", where, body=document, query={"dryRun": "All"})
    assert "replicas" not in made["spec"], "the operator fills in what is in use"
    assert made["spec"]["engine"]["vllm"]["image"] == "vllm/vllm-openai:v0.32.0"
    assert "cache" not in made["spec"]["model"], "a default inside would join what is set later"
    assert made["status"] == {"observedGeneration": -1}


def test_the_scale_subresource_answers_from_the_start(api: Api, namespace: str) -> None:
    api.create(manifest(namespace))
    scale = api.request("GET", path("ModelTier", namespace, "gold") + "/scale")
    assert scale["spec"] == {"replicas": 2}
