"""Decisions on connections to the bus: bounded for each account, and none for a server that does not wait any more."""

import base64
import json
from typing import Any

import pytest
from gameai.bus import subjects
from gameai.bus.group import WorldGroup
from gameai.bus_controller.callout import _BURST, _PER_SECOND, Callout
from gameai.bus_controller.credentials import Issuer
from gameai.bus_controller.grants import Directory, Grant
from gameai.bus_controller.metrics import ControllerMetrics
from gameai.serving.identity import Tokens
from gameai_contract.names import BUS_AUDIENCE
from prometheus_client import CollectorRegistry
from support.tokens import ISSUER, key_set, token

NOW = 1_000_000.0
MOOR = subjects.world("games", "moor", "u1")


class Connections:
    """A callout with an account `games/server`, and its clock."""

    def __init__(self, services: int = 1, gateways: str = "") -> None:
        self.now = NOW
        self.registry = CollectorRegistry()
        tokens = Tokens(BUS_AUDIENCE)
        tokens.take(ISSUER, key_set())
        names = tuple(f"s{each}" for each in range(services))
        readers = tuple(WorldGroup(world=MOOR, consumer=each) for each in names)
        grant = Grant(account="games/server", world=MOOR, services=names, consumers=readers)
        directory = Directory([[grant]])
        self.callout = Callout(
            Issuer.of(bytes(range(32))),
            tokens,
            lambda: directory,
            ControllerMetrics(self.registry),
            lambda: self.now,
            gateways,
        )
        self.token = token(aud=[BUS_AUDIENCE])

    def ask(self, age: float = 0.0, token: str | None = None) -> str:
        """`accepted`, what the answer says instead, or `nothing`."""
        answer = self.answer(age, token)
        if answer is None:
            return "nothing"
        said: dict[str, Any] = claims(answer)["nats"]
        return str(said.get("error") or "accepted")

    def answer(self, age: float = 0.0, token: str | None = None) -> str | None:
        nats = {
            "user_nkey": "U",
            "server_id": {"id": "N"},
            "connect_opts": {"auth_token": self.token if token is None else token},
            "client_info": {"host": "10.0.0.7"},
        }
        body = json.dumps({"nats": nats, "iat": int(self.now - age)}).encode()
        text = base64.urlsafe_b64encode(body).decode().rstrip("=")
        return self.callout.answer(f"e30.{text}.c2ln".encode())


def claims(text: str | None) -> Any:
    assert text is not None
    part = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_an_account_that_opens_connections_without_end_is_refused_for_a_while() -> None:
    found = Connections()
    said = [found.ask() for _ in range(int(_BURST) + 1)]
    assert said[:-1] == ["accepted"] * int(_BURST)
    assert "opens more than 20 connections a second" in said[-1]
    found.now += 3 / _PER_SECOND
    assert [found.ask() for _ in range(3)][:2] == ["accepted"] * 2


def test_a_server_that_does_not_wait_any_more_gets_no_answer() -> None:
    found = Connections()
    assert found.ask(age=4) == "accepted"
    assert found.ask(age=60) == "nothing"


@pytest.mark.parametrize(("services", "said"), [(32, "accepted"), (33, "count as 165")])
def test_an_account_of_a_whole_world_is_accepted_and_of_more_refused(
    services: int, said: str
) -> None:
    assert said in Connections(services).ask()


def test_a_client_without_a_token_is_refused() -> None:
    assert "ServiceAccount token of audience gameai-bus" in Connections().ask(token="")


def test_gateways_are_with_the_streams_and_use_those_of_jobs_alone() -> None:
    found = Connections(gateways="games/server")
    user = claims(found.answer())["nats"]["jwt"]
    assert claims(user)["aud"] == "GAME"
    allowed = claims(user)["nats"]["pub"]["allow"]
    assert {"job.>", "work.>"} < set(allowed)
    assert not [each for each in allowed if "GAME_LOG" in each or each.startswith(("log", "dlq"))]
    # Another account is a world's, whatever gateways may do.
    other = Connections(gateways="games/gateway")
    assert claims(claims(other.answer())["nats"]["jwt"])["aud"] == "WORLDS"
