"""Who may do what on the bus, and the credentials that say so to its servers."""

import base64
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gameai.bus import subjects
from gameai.bus_controller.credentials import Issuer, Request, RequestError, request
from gameai.bus_controller.grants import Directory, Grant, Permissions, grants, permissions
from gameai.cluster.world_views import is_current

ISSUER = Issuer.of(bytes(range(32)))
REQUEST = Request(user="UUSER", server="NSERVER", token="a.b.c", host="10.0.0.7")


def view(**spec: Any) -> dict[str, Any]:
    """The WorldView of moor/aldermoor."""
    return {
        "metadata": {
            "namespace": "moor",
            "name": "aldermoor",
            "ownerReferences": [
                {
                    "apiVersion": "gameai.dev/v1alpha1",
                    "kind": "GameWorld",
                    "name": "aldermoor",
                    "uid": "u1",
                }
            ],
        },
        "spec": {"world": "u1", **spec},
    }


def account(name: str, *services: str) -> dict[str, Any]:
    return {"name": name, "services": list(services)}


def of(document: dict[str, Any]) -> tuple[Grant, ...]:
    found = grants(document)
    assert found is not None
    return found


def test_an_account_may_publish_as_its_services_in_its_world_and_read_its_answers() -> None:
    bus = {"accounts": [account("keepers", "time-manager", "quests"), account("other", "chat")]}
    found = permissions(Directory([of(view(bus=bus))]).of("moor/keepers"))
    place = f"none.10.moor.aldermoor.{subjects.name_id('u1'):016x}"
    assert found == Permissions(
        publish=(
            f"log.{place}.quests",
            f"amb.{place}.quests",
            f"log.{place}.time-manager",
            f"amb.{place}.time-manager",
        ),
        subscribe=(f"{subjects.inbox('moor/keepers')}.>",),
    )


def test_a_world_with_a_knowledge_base_is_in_its_set() -> None:
    bus = {"knowledgeBase": "lore/elder", "accounts": [account("keepers", "quests")]}
    (found,) = of(view(bus=bus))
    assert found.world.world_set == "lore_elder"


def test_an_account_of_two_worlds_may_publish_in_both() -> None:
    other = view(bus={"accounts": [account("keepers", "quests")]})
    other["metadata"]["name"] = other["metadata"]["ownerReferences"][0]["name"] = "barrow"
    found = permissions(
        Directory([of(view(bus={"accounts": [account("keepers", "quests")]})), of(other)]).of(
            "moor/keepers"
        )
    )
    assert found is not None
    assert [each.split(".")[4] for each in found.publish] == ["aldermoor"] * 2 + ["barrow"] * 2


@pytest.mark.parametrize("bus", [None, {}, {"accounts": []}])
def test_a_world_without_accounts_grants_nothing(bus: dict[str, Any] | None) -> None:
    found = of(view(bus=bus))
    assert found == ()
    # An empty list of subjects would allow all of them.
    assert permissions(found) is None
    assert Directory().of("moor/keepers") == ()


@pytest.mark.parametrize("name", ["a.b", "*", ">", "A", ""])
def test_a_service_whose_name_is_more_than_a_part_of_a_subject_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="part of a subject"):
        grants(view(bus={"accounts": [account("keepers", name)]}))


@pytest.mark.parametrize(
    "given",
    [
        {"name": "../x", "services": ["a"]},
        {"name": "", "services": ["a"]},
        {"name": "a", "services": "ab"},
    ],
    ids=repr,
)
def test_an_account_that_is_malformed_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no ServiceAccount with a list of services"):
        grants(view(bus={"accounts": [given]}))


def changed(field: str, value: Any) -> dict[str, Any]:
    found = view()
    found["metadata"]["ownerReferences"][0][field] = value
    return found


def deleted() -> dict[str, Any]:
    found = view()
    found["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z"
    return found


def orphan() -> dict[str, Any]:
    found = view()
    del found["metadata"]["ownerReferences"]
    return found


@pytest.mark.parametrize(
    "document",
    [
        changed("kind", "ConfigMap"),
        changed("apiVersion", "v1"),
        changed("name", "barrow"),
        changed("uid", "u0"),
        deleted(),
        orphan(),
    ],
    ids=["kind", "group", "name", "uid", "deleted", "orphan"],
)
def test_a_view_without_its_world_grants_nothing(document: dict[str, Any]) -> None:
    assert not is_current(document)
    assert grants(document) is None


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_decoded(token.split(".")[1]))
    return found


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_public_key_of_an_issuer_is_as_servers_read_it() -> None:
    assert ISSUER.public_key.startswith("A")
    assert len(ISSUER.public_key) == 56
    raw = base64.b32decode(ISSUER.public_key)
    assert raw[1:33] == ISSUER.key.public_key().public_bytes_raw()


def test_a_user_is_signed_bound_to_its_connection_and_ends() -> None:
    allowed = Permissions(publish=("log.a",), subscribe=("_INBOX_x.>",))
    token = ISSUER.user(REQUEST, "moor/keepers", allowed, now=100, ends_at=160)
    found = claims(token)
    assert (found["sub"], found["aud"], found["iss"]) == ("UUSER", "WORLDS", ISSUER.public_key)
    assert (found["iat"], found["exp"], found["name"]) == (100, 160, "moor/keepers")
    assert found["nats"]["pub"] == {"allow": ["log.a"]}
    assert found["nats"]["sub"] == {"allow": ["_INBOX_x.>"]}
    text, _, signature = token.rpartition(".")
    key = Ed25519PublicKey.from_public_bytes(ISSUER.key.public_key().public_bytes_raw())
    key.verify(_decoded(signature), text.encode())
    with pytest.raises(InvalidSignature):
        key.verify(_decoded(signature), f"{text}x".encode())


def test_an_answer_is_for_the_server_that_asked() -> None:
    given = claims(ISSUER.answer(REQUEST, now=100, user="token"))
    assert (given["sub"], given["aud"], given["nats"]["jwt"]) == ("UUSER", "NSERVER", "token")
    refused = claims(ISSUER.answer(REQUEST, now=100, error="no grant"))["nats"]
    assert refused["error"] == "no grant"
    assert "jwt" not in refused


def asked(nats: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"nats": nats}).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


def test_a_request_is_read_as_servers_send_it() -> None:
    nats = {
        "user_nkey": "UUSER",
        "server_id": {"id": "NSERVER"},
        "connect_opts": {"auth_token": "a.b.c"},
        "client_info": {"host": "10.0.0.7"},
    }
    assert request(asked(nats)) == REQUEST
    assert request(asked({**nats, "connect_opts": {}})).token == ""


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.!.c", "a.e30.c", asked([]), asked({"user_nkey": "U"})], ids=repr
)
def test_a_request_that_cannot_be_read_is_an_error(token: str) -> None:
    with pytest.raises(RequestError, match="a request of a server cannot be read"):
        request(token)
