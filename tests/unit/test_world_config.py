import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from gameai.errors import (
    INTERNAL_MESSAGE,
    InvalidArgumentError,
    NotFoundError,
    ServiceFault,
    reason_of,
    status_of,
)
from gameai.services.storyteller.rules.missing import missing
from gameai.serving import live, settings
from gameai_contract.names import SETTINGS_HASH_ENVIRONMENT
from gameai_contract.settings import settings_hash
from gameai_contract.world_config import ConfigError, RoleConfig, WorldConfig, parse
from gameai_devcluster.testing.rendering import decided
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from support import worlds

ANCHOR = {
    "effectiveAt": "2026-11-22T09:00:00Z",
    "worldSeconds": "28800",
    "speed": "1",
    "dayLengthMinutes": 48,
}


def test_services_read_what_the_operator_writes() -> None:
    roles = [
        {"name": "dialogue", "tierRef": {"name": "silver"}},
        {"name": "story", "tierRef": {"name": "none"}},
    ]
    config = parse(worlds.configuration(seed=42, roles=roles))
    assert (config.world, config.namespace, config.seed) == ("moor", "eldermoor", 42)
    assert config.roles["dialogue"].endpoint == "http://silver.eldermoor.svc:8000"
    assert config.roles["story"].endpoint == ""
    service = config.services["weather-manager"]
    assert service.settings == {}
    assert service.settings_hash == settings_hash(42, service.settings)
    assert config.anchors[0].speed == 1


def test_the_hash_in_the_pod_is_the_one_in_the_configuration() -> None:
    decision = decided(worlds.resource(seed=1))
    deployment = next(each for each in decision.wanted or () if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    values = {each["name"]: each["value"] for each in container["env"]}
    published_hash = parse(worlds.configuration(seed=1)).services["weather-manager"].settings_hash
    assert values[SETTINGS_HASH_ENVIRONMENT] == published_hash


def test_keys_of_a_newer_operator_are_passed_over() -> None:
    document = json.loads(worlds.configuration()) | {"tomorrow": 1}
    assert parse(json.dumps(document)).world == "moor"


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "null"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no configuration of a world"):
        parse(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "seed: Input should be a valid integer"),
        ({"clock": {}}, "clock.anchors: Field required"),
        ({"clock": {"anchors": []}}, "clock.anchors: List should have at least 1 item"),
        ({"clock": {"anchors": [{}]}}, "clock.anchors.0: speed is missing"),
        ({"clock": {"anchors": [ANCHOR | {"speed": "x"}]}}, "clock.anchors.0: speed must be"),
        (
            {"clock": {"anchors": [ANCHOR | {"dayLengthMinutes": "48"}]}},
            "clock.anchors.0: dayLengthMinutes must",
        ),
        (
            {"clock": {"anchors": [ANCHOR, ANCHOR | {"effectiveAt": "2020-01-01T00:00:00Z"}]}},
            "clock.anchors.1: effectiveAt must not be before",
        ),
        (
            {"clock": {"anchors": [ANCHOR | {"effectiveAt": 1}]}},
            "clock.anchors.0: effectiveAt must be a time",
        ),
        ({"services": {"judge": []}}, "services.judge: Input should be an object"),
        ({"services": {"judge": {"settings": {"mood": 1.5}}}}, "services.judge.settings.mood: "),
        ({"services": {"judge": {}}}, "services.judge.endpoint is missing"),
        (
            {"services": {"judge": {"endpoint": "", "settings": {}}}},
            "services.judge.settingsHash is missing",
        ),
        (
            {"roles": {"reaction": {"tier": "gold", "namespace": "games"}}},
            "roles.reaction.endpoint is missing",
        ),
        ({"roles": {"reaction": {"tier": "gold"}}}, "roles.reaction.namespace: Field required"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(json.dumps(json.loads(worlds.configuration()) | change))
    assert f"no configuration of a world: {message}" in str(raised.value)


@pytest.mark.parametrize("clock", [None, {}])
def test_a_clock_that_is_missing_is_shown(clock: object) -> None:
    document = json.loads(worlds.configuration())
    del document["clock"]
    given = document if clock is None else document | {"clock": clock}
    with pytest.raises(ConfigError) as raised:
        parse(json.dumps(given))
    example = str(raised.value).partition("Field required; for example ")[2]
    assert parse(json.dumps(document | json.loads(f"{{{example}}}"))).anchors


@pytest.mark.parametrize("part", ["roles", "services"])
def test_a_document_of_the_operator_without_a_part_is_refused(part: str) -> None:
    document = json.loads(worlds.configuration())
    del document[part]
    with pytest.raises(ConfigError, match=f"{part} is missing"):
        parse(json.dumps(document))


def by_hand(**services: Any) -> WorldConfig:
    document = {"world": "moor", "namespace": "games", "seed": 1, "clock": {"anchors": [ANCHOR]}}
    return parse(json.dumps(document | {"services": services}), by_hand=True)


def test_a_document_for_one_process_can_be_short() -> None:
    config = by_hand(weather={}, time={"settings": {"dawnHour": 6}})
    assert (config.services["weather"].settings, config.gateway) == ({}, "")
    assert config.services["time"].settings == {"dawnHour": "6"}
    assert (config.memory, config.roles) == ("", {})


def test_a_misspelt_key_of_a_service_is_refused_where_a_person_wrote_it() -> None:
    with pytest.raises(ConfigError, match=r"services\.weather\.setings is not known"):
        by_hand(weather={"setings": {"climate": "Polar"}})


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({}, 'services has no weather-manager (it has: none): add "weather-manager": {} to it'),
        ({"judge": {}}, "services has no weather-manager (it has: judge)"),
        (
            {"wether-manager": {}},
            (
                'services has no weather-manager (it has: wether-manager): add "weather-manager": {} to it; '
                "is this service meant by wether-manager?"
            ),
        ),
        (
            {"weather-manager": {"settings": {"stepMinutes": "x", "region": "moor"}}},
            (
                "services.weather-manager.settings.stepMinutes: 'x' must be a whole number from 10 to 1440; "
                "services.weather-manager.settings: region is not a setting"
            ),
        ),
        (
            {"weather-manager": {"settings": {"region": "moor"}}},
            "services.weather-manager.settings: region is not a setting (climate, regions",
        ),
        (
            {"weather-manager": {"settings": {"climate": "artic"}}},
            "services.weather-manager.settings.climate: 'artic' must be one of",
        ),
    ],
)
def test_a_process_without_an_operator_checks_its_settings_itself(
    services: dict[str, Any], message: str
) -> None:
    config = by_hand(**services)
    with pytest.raises(ConfigError) as raised:
        settings.check(Path("world.json"), config, "weather-manager")
    assert str(raised.value).startswith(f"world.json: {message}")


def test_good_settings_of_a_process_are_taken() -> None:
    for given in ({}, {"settings": {"climate": "Polar"}}):
        settings.check(Path("world.json"), by_hand(**{"weather-manager": given}), "weather-manager")


def test_a_service_of_a_studio_has_any_settings() -> None:
    settings.check(Path("world.json"), by_hand(duels={"settings": {"mood": "grim"}}), "duels")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFoundError("no region"), (code_pb2.NOT_FOUND, "no region", "NOT_FOUND")),
        (InvalidArgumentError("steps"), (code_pb2.INVALID_ARGUMENT, "steps", "FIELD_INVALID")),
        (ServiceFault("?"), (code_pb2.INTERNAL, INTERNAL_MESSAGE, "INTERNAL")),
        (ValueError("a secret"), (code_pb2.INTERNAL, INTERNAL_MESSAGE, "INTERNAL")),
    ],
)
def test_a_caller_gets_our_errors_and_no_text_of_others(
    error: Exception, expected: tuple[int, str, str]
) -> None:
    found = status_of(error)
    assert (found.code, found.message, reason_of(found)) == expected


def test_a_wrong_field_is_named_for_programs_too() -> None:
    found = status_of(InvalidArgumentError("steps must be at most 240", field="steps"))
    request = error_details_pb2.BadRequest()
    assert found.details[1].Unpack(request)
    assert [each.field for each in request.field_violations] == ["steps"]


def test_a_reason_that_is_not_ours_is_none() -> None:
    found = Status(code=code_pb2.UNAVAILABLE)
    found.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="elsewhere"))
    found.details.add().Pack(error_details_pb2.BadRequest())
    assert reason_of(found) == ""


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "world.json"
    file.write_text(worlds.configuration(), "utf-8-sig")
    assert live.read(file) == parse(worlds.configuration())
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match=r"world\.json: the file is not UTF-8"):
        live.read(file)


def test_a_storyteller_says_what_its_configuration_lacks() -> None:
    whole = dataclasses.replace(
        by_hand(storyteller={}),
        memory="lore-memory.games.svc:50051",
        gateway="gateway.games.svc:50051",
        roles={"story": RoleConfig(tier="silver", namespace="games", endpoint="")},
    )
    assert list(missing(whole, "story")) == []
    assert "no role tale, no text is written" in next(missing(whole, "tale"))
    lacking = list(missing(by_hand(storyteller={}), "story"))
    assert [each.partition(",")[0].split()[-1] for each in lacking] == [
        "memory",
        "gateway",
        "story",
    ]
