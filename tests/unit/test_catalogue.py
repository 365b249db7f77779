import importlib.util
from typing import Any

import pytest
import worlds
from gameai import contract
from gameai_operator.world.catalogue import ServiceError, effective, seed


def only(**service: Any) -> Any:
    return effective(worlds.world(services=[service]))[0]


@pytest.mark.parametrize("row", contract.CATALOGUE.values(), ids=lambda row: row.module)
def test_every_row_of_the_catalogue_can_be_started(row: contract.CatalogueService) -> None:
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
            "wether-manager is not in the catalogue (time-manager, weather-manager); did you mean weather-manager?",
        ),
        ({"name": "zzz"}, "UnknownService", "(time-manager, weather-manager): choose one"),
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
    with pytest.raises(ServiceError) as raised:
        only(**service)
    assert raised.value.reason == reason
    assert words in str(raised.value)


def test_settings_are_filled_in_from_the_catalogue() -> None:
    found = only(name="weather-manager", settings={"stepMinutes": 30, "regions": "coast, moor"})
    assert found.settings == {
        "climate": "Temperate",
        "regions": "coast, moor",
        "stepMinutes": "30",
    }
    assert found.module == "gameai.services.weather_manager"
    assert (found.cpu, found.memory, found.port) == ("20m", "96Mi", 50051)


def test_an_own_image_keeps_its_settings_as_they_are() -> None:
    found = only(name="duel", image="duel:1", settings={"anything": "goes"}, port=7000)
    assert found.settings == {"anything": "goes"}
    assert (found.module, found.port, found.cpu, found.memory) == (None, 7000, "50m", "128Mi")


def test_an_own_image_of_a_catalogue_service_has_its_typed_settings() -> None:
    with pytest.raises(ServiceError, match="is not a setting"):
        only(name="weather-manager", image="fork:1", settings={"x": "y"})
    assert only(name="weather-manager", image="fork:1").settings["climate"] == "Temperate"


def test_a_seed_is_as_given_or_from_the_worlds_name() -> None:
    assert seed(worlds.world(seed=42)) == 42
    assert seed(worlds.world()) == seed(worlds.world())
    assert 0 <= seed(worlds.world()) < 2**48


def test_what_a_service_is_started_with_has_a_hash() -> None:
    first = contract.settings_hash(1, {"a": "b"})
    assert first == contract.settings_hash(1, {"a": "b"})
    assert first != contract.settings_hash(2, {"a": "b"})
    assert first != contract.settings_hash(1, {"a": "c"})
