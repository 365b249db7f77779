"""Who may do what on the bus, and the credentials that say so to its servers."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gameai.bus import subjects
from gameai.bus.group import WorldGroup
from gameai.bus.streams import LOG, ORDERS, ConsumerUse
from gameai.bus_controller.consumers import (
    MOST_CONSUMERS,
    MOST_OF_NAMESPACE,
    again,
    changes,
    own_letters,
    wanted,
)
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


READS = {"name": "quests", "services": ["time-manager", "chat"]}


def test_a_service_that_consumes_may_use_its_consumer_and_its_dead_letters() -> None:
    bus = {"accounts": [account("keepers", "quests") | {"consumers": [READS]}]}
    granted = Directory([of(view(bus=bus))]).of("moor/keepers")
    found = permissions(granted)
    assert found is not None
    place = f"moor.aldermoor.{subjects.name_id('u1'):016x}"
    name = f"moor_aldermoor_{subjects.name_id('u1'):016x}_quests"
    assert found.publish[2:] == (
        f"$JS.API.CONSUMER.MSG.NEXT.GAME_LOG.{name}",
        f"$JS.API.CONSUMER.MSG.NEXT.GAME_ORDERS.{name}",
        f"$JS.ACK.GAME_LOG.{name}.*.*.*.*.*",
        f"$JS.ACK.GAME_ORDERS.{name}.*.*.*.*.*",
        f"dlq.own.quests.{place}",
        f"$JS.API.DIRECT.GET.GAME_DLQ.dlq.own.quests.{place}",
        f"letters.first.own.quests.{place}",
        f"letters.last.own.quests.{place}",
        f"letters.remove.own.quests.{place}",
    )
    assert len(found.subscribe) == 1
    assert granted[0].weight == 5


@pytest.mark.parametrize(
    "given",
    [
        {"name": "chat", "services": ["time-manager"]},
        {"name": "quests", "services": []},
        {"name": "quests", "services": "ab"},
        {"name": "quests", "services": ["a.b"]},
    ],
    ids=repr,
)
def test_a_consumer_that_is_malformed_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"none of the account's services|part of a subject"):
        grants(view(bus={"accounts": [account("keepers", "quests") | {"consumers": [given]}]}))


def reader(namespace: str, name: str, *services: str) -> WorldGroup:
    return WorldGroup(
        world=subjects.world(namespace, name, f"uid-{name}"), consumer="quests", services=services
    )


def present(*groups: WorldGroup) -> list[ConsumerUse]:
    return [
        ConsumerUse(
            name=each.name,
            stream=each.stream.name,
            world=each.world,
            digest=each.digest,
        )
        for group in groups
        for each in (group.durable(), group.redrives())
    ]


def named(*groups: WorldGroup) -> dict[str, WorldGroup]:
    return {each.name: each for each in groups}


def test_a_consumer_of_a_world_is_created_for_events_and_for_orders() -> None:
    bus = {"accounts": [account("keepers", "quests") | {"consumers": [READS]}]}
    groups = wanted(of(view(bus=bus)))
    (group,) = groups.values()
    found = changes(groups, [])
    number = f"{subjects.name_id('u1'):016x}"
    assert [(each.stream, each.filters) for each in found.create] == [
        (
            LOG,
            (
                f"log.*.*.moor.aldermoor.{number}.chat",
                f"log.*.*.moor.aldermoor.{number}.time-manager",
            ),
        ),
        (ORDERS, (f"redrive.own.quests.moor.aldermoor.{number}",)),
    ]
    assert {(each.name, each.world) for each in found.create} == {(group.name, "moor/aldermoor")}
    assert changes(groups, present(group)) == changes({}, [])


def test_a_consumer_that_reads_other_services_is_changed_and_one_of_no_world_is_left() -> None:
    before, after = reader("moor", "a", "chat"), reader("moor", "a", "chat", "time-manager")
    gone = reader("moor", "b", "chat")
    of_a_set = ConsumerUse(name="none_quests", stream="GAME_LOG", world="", digest="")
    found = changes(named(after), [*present(before, gone), of_a_set])
    assert found.create == ()
    assert [each.filters for each in found.change] == [after.durable().filters]
    assert {each.name for each in found.unwanted} == {gone.name}
    assert len(found.unwanted) == 2


def test_what_exceeds_a_limit_is_refused_and_takes_no_place_of_another() -> None:
    crowd = [reader("moor", f"w{each}", "chat") for each in range(MOST_OF_NAMESPACE + 2)]
    other = reader("fen", "a", "chat")
    found = changes(named(*crowd, other), present(*crowd[2:]))
    # One that is there keeps its place, whatever its name.
    assert {each.name for each in found.refused} == {each.name for each in crowd[:2]}
    assert {each.name for each in found.create} == {other.name}
    all_of_it = [
        reader(f"n{each // MOST_OF_NAMESPACE}", f"w{each}", "chat")
        for each in range(MOST_CONSUMERS)
    ]
    assert changes(named(*all_of_it, other), present(*all_of_it)).refused == (other,)


def test_half_a_consumer_is_completed() -> None:
    group = reader("moor", "a", "chat")
    log, orders = present(group)
    assert [each.stream for each in changes(named(group), [log]).create] == [ORDERS]
    assert [each.stream for each in changes(named(group), [orders]).create] == [LOG]


def test_a_consumer_whose_server_is_away_is_not_created_again() -> None:
    group = reader("moor", "a", "chat")
    away = [replace(each, world="", digest="") for each in present(group)]
    assert changes(named(group), away) == changes({}, [])


def test_a_change_is_what_the_worlds_want_now() -> None:
    before, after = reader("moor", "a", "chat"), reader("moor", "a", "chat", "time-manager")
    log, orders = present(before)
    assert again(named(after), log) == after.durable()
    assert again(named(before), log) is None
    assert again(named(after), orders) is None
    assert again({}, log) is None


def test_the_dead_letters_of_a_consumer_are_found_by_its_name() -> None:
    group = reader("moor", "a", "chat")
    assert own_letters(group.name) == group.own_letters
