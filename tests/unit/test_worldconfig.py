import json

import grpc
import pytest
import worlds
from gameai import contract
from gameai.errors import INTERNAL_MESSAGE, InvalidArgumentError, NotFoundError, ServiceFault, told
from gameai.worldconfig import ConfigError, parse
from gameai_devcluster.testing.rendering import decided


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
    assert service.settings_hash == contract.settings_hash(42, service.settings)
    assert config.anchors[0].speed == 1


def test_the_hash_in_the_pod_is_the_one_in_the_configuration() -> None:
    decision = decided(worlds.resource(seed=1))
    deployment = next(each for each in decision.wanted or () if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    values = {each["name"]: each["value"] for each in container["env"]}
    told_hash = parse(worlds.configuration(seed=1)).services["weather-manager"].settings_hash
    assert values[contract.SETTINGS_HASH_ENVIRONMENT] == told_hash


def test_keys_of_a_newer_operator_are_passed_over() -> None:
    document = json.loads(worlds.configuration()) | {"tomorrow": 1}
    assert parse(json.dumps(document)).world == "moor"


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "null"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no configuration of a world"):
        parse(text)


def test_a_clock_without_anchors_or_with_some_out_of_order_is_refused() -> None:
    document = json.loads(worlds.configuration())
    first = document["clock"]["anchors"][0]
    before = first | {"effectiveAt": "2020-01-01T00:00:00Z"}
    for anchors in ([], [first, before]):
        with pytest.raises(ConfigError, match="at least one anchor, and be in order"):
            parse(json.dumps(document | {"clock": {"anchors": anchors}}))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFoundError("no region"), grpc.StatusCode.NOT_FOUND, "no region"),
        (InvalidArgumentError("steps"), grpc.StatusCode.INVALID_ARGUMENT, "steps"),
        (ServiceFault("?"), grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE),
        (ValueError("a secret"), grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE),
    ],
)
def test_a_caller_hears_our_errors_and_nothing_of_others(
    error: Exception, code: grpc.StatusCode, message: str
) -> None:
    assert told(error) == (code, message)
