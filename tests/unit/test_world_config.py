import json

import pytest
from gameai.errors import (
    INTERNAL_MESSAGE,
    InvalidArgumentError,
    NotFoundError,
    ServiceFault,
    reason_of,
    status_of,
)
from gameai_contract.names import SETTINGS_HASH_ENVIRONMENT
from gameai_contract.settings import settings_hash
from gameai_contract.world_config import ConfigError, parse
from gameai_devcluster.testing.rendering import decided
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from support import worlds


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


def test_a_clock_without_anchors_or_with_some_out_of_order_is_refused() -> None:
    document = json.loads(worlds.configuration())
    first = document["clock"]["anchors"][0]
    before = first | {"effectiveAt": "2020-01-01T00:00:00Z"}
    for anchors in ([], [first, before]):
        with pytest.raises(ConfigError, match="at least one anchor, and be in order"):
            parse(json.dumps(document | {"clock": {"anchors": anchors}}))


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
