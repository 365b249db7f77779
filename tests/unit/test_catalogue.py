import importlib.util
from dataclasses import replace
from typing import Any

import pytest
from gameai_contract.catalogue import CATALOGUE
from gameai_contract.settings import CatalogueService, settings_hash
from gameai_devcluster.testing import rendering
from gameai_operator.resources.deployment import TEMPLATE_HASH
from gameai_operator.settings import Settings
from gameai_operator.world.catalogue import effective, seed
from gameai_operator.world.revisions import NEWEST, REVISIONS
from support import worlds


def only(**service: Any) -> Any:
    return effective(worlds.world(services=[service]), 1)[0]


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.module)
def test_every_row_of_the_catalogue_can_be_started(row: CatalogueService) -> None:
    assert importlib.util.find_spec(f"{row.module}.__main__")
    for setting in row.settings.values():
        assert setting.fault(setting.default) is None
        assert setting.text.endswith(".")


@pytest.mark.parametrize(
    ("service", "reason", "words"),
    [
        (
            {"name": "wether-manager"},
            "UnknownService",
            "wether-manager is not in the catalogue (settings, state-manager, storyteller, time-manager, weather-manager, world-state); did you mean weather-manager?",
        ),
        (
            {"name": "zzz"},
            "UnknownService",
            "(settings, state-manager, storyteller, time-manager, weather-manager, world-state): choose one",
        ),
        (
            {"name": "weather-manager", "settings": {"Climate": "Arid"}},
            "UnknownSetting",
            "spec.services[weather-manager].settings: Climate is not a setting (climate, regions, stepMinutes); did you mean climate?",
        ),
        (
            {"name": "weather-manager", "settings": {"climate": "maritim"}},
            "InvalidSetting",
            "settings.climate: 'maritim' must be one of Temperate, Maritime, Arid, Tropical, Polar; did you mean Maritime?",
        ),
        (
            {"name": "weather-manager", "settings": {"stepMinutes": "5"}},
            "InvalidSetting",
            "'5' must be a whole number from 10 to 1440",
        ),
        (
            {"name": "weather-manager", "settings": {"stepMinutes": "ten"}},
            "InvalidSetting",
            "'ten' must be a whole number from 10 to 1440",
        ),
        (
            {"name": "weather-manager", "settings": {"regions": "a,,b c"}},
            "InvalidSetting",
            "must be 1 to 64 different words",
        ),
        (
            {"name": "weather-manager", "settings": {"regions": "a, a"}},
            "InvalidSetting",
            "must be 1 to 64 different words",
        ),
        (
            {"name": "weather-manager", "settings": {"regions": ""}},
            "InvalidSetting",
            "must be 1 to 64 different words",
        ),
    ],
)
def test_what_cannot_be_honoured_is_named_with_what_to_write_instead(
    service: dict[str, Any], reason: str, words: str
) -> None:
    (fault,) = only(**service).faults
    assert fault.reason == reason
    assert words in fault.message


def test_a_service_with_state_needs_a_database_and_pods_that_reach_the_bus() -> None:
    missing, old = only(name="state-manager").faults
    assert (missing.reason, missing.message) == (
        "DatabaseMissing",
        "spec.services: state-manager keeps its state in PostgreSQL: set spec.database",
    )
    assert old.reason == "TemplateRevisionTooOld"
    assert "needs pods of template revision 5, and they have 1" in old.message
    root = worlds.world(services=[{"name": "state-manager"}], **worlds.needs("state-manager"))
    (found,) = effective(root, NEWEST)
    assert found.faults == ()
    assert found.database is not None
    env = [{"name": "TZ", "value": "UTC"}, {"name": "PGPASSWORD", "value": "x"}]
    services = [{"name": "state-manager", "env": env}]
    (found,) = effective(worlds.world(services=services, **worlds.needs("state-manager")), NEWEST)
    assert [(each.reason, each.message) for each in found.faults] == [
        (
            "EnvironmentReserved",
            "spec.services[state-manager].env: PGPASSWORD is set from spec.database: remove it",
        )
    ]


def test_every_mistake_of_a_service_is_named_at_once() -> None:
    settings = {"climate": "Maritme", "stepMinute": "30", "regions": "coast"}
    found = only(name="weather-manager", settings=settings)
    assert [each.reason for each in found.faults] == ["InvalidSetting", "UnknownSetting"]
    assert "did you mean Maritime?" in found.faults[0].message
    assert "did you mean stepMinutes?" in found.faults[1].message


def test_only_given_settings_are_reported_and_the_service_fills_in_the_rest() -> None:
    found = only(name="weather-manager", settings={"stepMinutes": 30, "regions": "coast, moor"})
    assert found.settings == {"regions": "coast, moor", "stepMinutes": "30"}
    row = CATALOGUE["weather-manager"]
    assert row.with_defaults(found.settings) == found.settings | {"climate": "Temperate"}
    assert found.module == "gameai.services.weather_manager"
    assert (found.cpu, found.memory, found.port) == ("20m", "96Mi", 50051)


def test_a_service_that_needs_a_memory_and_a_role_says_so() -> None:
    def faults(settings: dict[str, str] | None = None, **spec: Any) -> list[tuple[str, str]]:
        services = [{"name": "storyteller", "settings": settings or {}}]
        [found] = effective(worlds.world(services=services, **spec), 4)
        return [(each.reason, each.message) for each in found.faults]

    spec = worlds.needs("storyteller")
    assert faults(**spec) == []
    assert [reason for reason, _ in faults()] == ["MemoryMissing", "RoleMissing"]
    assert "keeps its state in a memory: set spec.knowledgeBaseRef" in faults()[0][1]
    assert "'story' is not in spec.roles (none): add the role" in faults()[1][1]
    [(_, message)] = faults({"role": "stori"}, **spec)
    assert "'stori' is not in spec.roles (story); did you mean story?: add" in message
    assert faults({"role": "a b"}, **spec)[0][1].endswith("'a b' must be the name of a role")


def test_an_own_image_keeps_its_settings_as_they_are() -> None:
    found = only(name="duel", image="duel:1", settings={"anything": "goes"}, port=7000)
    assert found.settings == {"anything": "goes"}
    assert (found.module, found.port, found.cpu, found.memory) == (None, 7000, "50m", "128Mi")


def test_an_own_image_of_a_catalogue_service_has_its_typed_settings() -> None:
    (fault,) = only(name="weather-manager", image="fork:1", settings={"x": "y"}).faults
    assert "is not a setting" in fault.message
    fork = only(name="weather-manager", image="fork:1", settings={"climate": "Arid"})
    assert (fork.settings, fork.module) == ({"climate": "Arid"}, None)


def test_a_revision_has_the_resources_of_the_last_that_changed_them() -> None:
    row = CATALOGUE["time-manager"]
    changed = replace(row, resources={1: ("1m", "1Mi"), 3: ("3m", "3Mi")})
    assert [changed.resources_of(each)[0] for each in (1, 2, 3, 4)] == ["1m", "1m", "3m", "3m"]


# The template of a revision, once released, never changes: it would restart every pod that has it.
FROZEN = {
    (1, "time-manager"): "10a59611382e29a4",
    (1, "weather-manager"): "4f8b9707378dc07d",
    (1, "storyteller"): "687d50b74a32b6c7",
    (2, "storyteller"): "d66666d3880980c5",
    (3, "storyteller"): "aaafc30f8379a158",
    (4, "storyteller"): "98875d227684f389",
    (2, "time-manager"): "c3e2d62be969c063",
    (2, "weather-manager"): "c3ff681ee5b41fbd",
    (3, "time-manager"): "6d9e962ddbd36525",
    (3, "weather-manager"): "a16434fa52a6eccf",
    (4, "time-manager"): "36b3002223648e18",
    (4, "weather-manager"): "ecbed71852178b85",
    (5, "time-manager"): "0ccccf60c034b28f",
    (5, "weather-manager"): "c7de692c8f5348c6",
    (5, "storyteller"): "2aa4cd2fdbe964f3",
}


@pytest.mark.parametrize(("revision", "name"), FROZEN, ids=str)
def test_a_revisions_template_stays_what_it_was(revision: int, name: str) -> None:
    services = [{"name": name, "replicas": 1}]
    root = worlds.resource(seed=1, services=services, **worlds.needs(name))
    root["spec"]["templateRevision"] = revision
    decision = rendering.decided(root, Settings(workloads_image="image:1"))
    deployment = next(each for each in decision.wanted or () if each["kind"] == "Deployment")
    assert deployment["metadata"]["annotations"][TEMPLATE_HASH] == FROZEN[revision, name]


def test_every_revision_is_frozen() -> None:
    """One service is enough: what differs between services, docs/reference/services.md shows."""
    assert {each for each, _ in FROZEN} == set(REVISIONS)


def test_a_seed_is_as_given_or_from_the_worlds_name() -> None:
    assert seed(worlds.world(seed=42)) == 42
    assert seed(worlds.world()) == seed(worlds.world())
    assert 0 <= seed(worlds.world()) < 2**48


def test_what_a_service_is_started_with_has_a_hash() -> None:
    first = settings_hash(1, {"a": "b"})
    assert first == settings_hash(1, {"a": "b"})
    assert first != settings_hash(2, {"a": "b"})
    assert first != settings_hash(1, {"a": "c"})
