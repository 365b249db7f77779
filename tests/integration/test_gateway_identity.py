"""Who may speak for a world, and by which keys and certificates that is known."""

import asyncio
import json
import shutil
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gameai.client import AskError, Gateway, Source
from gameai.cluster import keys as token_keys
from gameai.errors import UnauthenticatedError
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.rpc import service as gateway_service
from gameai.inference.v1 import inference_pb2 as pb
from gameai.serving.identity import AUDIENCE, Caller, Tokens
from gameai_devcluster import certificates
from grpc import aio
from support.inference import (
    GUARD,
    engine,
    eventually,
    gateway,
    gateway_program,
    question,
    view,
    world,
    write_view,
)
from support.tokens import ISSUER, OURS, THEIRS, key_set, token

ENGINE = pb.SOURCE_ENGINE


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


def identity() -> Tokens:
    tokens = Tokens()
    tokens.take(ISSUER, key_set())
    return tokens


def unsigned() -> str:
    return jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "system:serviceaccount:games:server", "exp": 9e9},
        "",
        algorithm="none",
        headers={"kid": "k1"},
    )


@pytest.mark.parametrize(
    ("presented", "code", "expected"),
    [
        ("", "UNAUTHENTICATED", "send `authorization: Bearer <token>`"),
        ("Basic abc", "UNAUTHENTICATED", "send `authorization: Bearer <token>`"),
        ("Bearer nonsense", "UNAUTHENTICATED", "the token is not one of this cluster"),
        (f"Bearer {token(exp=time.time() - 60)}", "UNAUTHENTICATED", "the token has expired"),
        (f"Bearer {token(THEIRS)}", "UNAUTHENTICATED", "the token is not one of this cluster"),
        (f"Bearer {unsigned()}", "UNAUTHENTICATED", "the token is not one of this cluster"),
        (f"Bearer {token(aud=['other'])}", "UNAUTHENTICATED", "the token's audience is not gameai-gateway"),
        (f"Bearer {token(iss='https://elsewhere')}", "UNAUTHENTICATED", "the token is not one of this cluster"),
        (f"Bearer {token(exp=time.time() + 7 * 86_400)}", "UNAUTHENTICATED",
         "the token is valid for 168 hours and at most 24 are accepted"),
        (f"Bearer {token(sub='somebody')}", "UNAUTHENTICATED", "the token is not a ServiceAccount's"),
        (f"Bearer {token(sub='system:serviceaccount:games:other')}", "PERMISSION_DENIED",
         "games/other does not speak for any world: add it to the world's callers"),
    ],
)  # fmt: skip
async def test_who_may_not_speak_for_a_world_is_refused_by_name(
    presented: str, code: str, expected: str
) -> None:
    metadata = [("authorization", presented)] if presented else []
    async with gateway(view(), identity()) as served:
        found, message = await failure(served.infer(question(GUARD), metadata=metadata))
        assert (found.name, expected in message) == (code, True)
        assert presented.rsplit(" ", maxsplit=1)[-1] not in message or not presented
        call = served.stub.StreamAnswers(metadata=metadata)
        # Who is not known is refused before the first message. One that meets the end of the stream makes the client report INTERNAL.
        if code == "PERMISSION_DENIED":
            await call.write(pb.StreamAnswersRequest(questions=[GUARD]))
        assert (await call.code()).name == code


async def test_a_caller_of_the_world_is_served_and_no_other_world_is_open_to_it() -> None:
    metadata = [("authorization", f"Bearer {token()}")]
    foreign = world("games/foreign")
    object.__setattr__(foreign, "callers", frozenset())
    async with (
        engine() as (_, address),
        gateway(view([address], [], world(), foreign), identity()) as served,
    ):
        assert (await served.infer(question(GUARD), metadata=metadata)).source == ENGINE
        request = pb.GenerateAnswerRequest(world="games/foreign", question=GUARD)
        code, _ = await failure(served.stub.GenerateAnswer(request, metadata=metadata))
        assert code is grpc.StatusCode.PERMISSION_DENIED


def of(key: str, *callers: str) -> WorldView:
    made = world(key)
    object.__setattr__(made, "callers", frozenset(callers))
    return made


SERVER = "games/server"
HOME, AWAY = of("games/home", SERVER), of("rivals/away", SERVER)
OMITTED: list[tuple[str, tuple[WorldView, ...], str]] = [
    ("its own namespace's only world", (HOME,), ""),
    ("one of another namespace beside it changes nothing", (HOME, AWAY), ""),
    ("one of another namespace alone must be named", (AWAY,), "world must be named"),
    ("two of its own namespace", (HOME, of("games/two", SERVER), AWAY), "one of games/home, games"),
]


@pytest.mark.parametrize(
    ("case", "worlds", "expected_error"), OMITTED, ids=[each[0] for each in OMITTED]
)
async def test_a_call_without_a_world_means_only_the_one_of_the_callers_own_namespace(
    case: str, worlds: tuple[WorldView, ...], expected_error: str
) -> None:
    metadata = [("authorization", f"Bearer {token()}")]
    async with gateway(view([], [], *worlds), identity()) as served:
        asked = question(GUARD, deadline_ms=50)
        if expected_error:
            code, message = await failure(served.infer(asked, metadata=metadata))
            assert (code, expected_error in message) == (grpc.StatusCode.INVALID_ARGUMENT, True), (
                case
            )
            request = pb.GenerateAnswerRequest(world=worlds[-1].key, question=asked)
            answer = (await served.stub.GenerateAnswer(request, metadata=metadata)).answer
            assert answer.text == "patrol", "named, it is served"
        else:
            assert (await served.infer(asked, metadata=metadata)).text == "patrol", case


async def test_a_caller_that_is_named_with_its_uid_is_that_account_and_no_later_one() -> None:
    account: Any = {"serviceaccount": {"name": "server", "uid": "u1"}}
    only = of("games/home", f"{SERVER}@u1")
    async with gateway(view([], [], only), identity()) as served:
        asked = question(GUARD, deadline_ms=50)
        held = [("authorization", f"Bearer {token(**{'kubernetes.io': account})}")]
        assert (await served.infer(asked, metadata=held)).text == "patrol"
        account["serviceaccount"]["uid"] = "u2"
        for claims in ({"kubernetes.io": account}, {}, {"kubernetes.io": "x"}):
            other = [("authorization", f"Bearer {token(**claims)}")]
            code, _ = await failure(served.infer(asked, metadata=other))
            assert code is grpc.StatusCode.PERMISSION_DENIED


def test_tokens_of_a_former_issuer_are_accepted_for_as_long_as_a_token_may_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = identity()
    presented = {"authorization": f"Bearer {token()}"}
    tokens.take("https://new.example", key_set())
    assert tokens.caller(presented).name == SERVER
    now = time.time()
    monkeypatch.setattr("gameai.serving.identity.time.time", lambda: now + 25 * 3600)
    tokens.take("https://new.example", key_set())
    monkeypatch.undo()
    with pytest.raises(UnauthenticatedError, match="not one of this cluster"):
        tokens.caller(presented)


def test_another_audience_and_age_may_be_set() -> None:
    tokens = Tokens("gameai-two", most_hours=1)
    tokens.take(ISSUER, key_set())
    with pytest.raises(UnauthenticatedError, match="audience is not gameai-two"):
        tokens.caller({"authorization": f"Bearer {token()}"})
    hour: dict[str, Any] = {"aud": ["gameai-two"], "exp": time.time() + 3600}
    assert tokens.caller({"authorization": f"Bearer {token(**hour)}"}).name == SERVER


def test_a_client_sends_no_token_in_clear_unless_it_is_asked_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would send the token in clear"):
        Gateway("gateway:50051", token_file=tmp_path / "token")
    Gateway("gateway:50051", token_file=tmp_path / "token", insecure=True)
    Gateway("gateway:50051", token_file=tmp_path / "token", ca_file=tmp_path / "ca.crt")
    Gateway("gateway:50051")


async def test_a_stream_is_asked_to_leave_before_its_token_ends(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(exp=time.time() + 32))
    async with (
        engine() as (_, address),
        gateway(view([address]), identity()) as served,
        Gateway(served.address, token_file=file, insecure=True) as ai,
    ):
        assert (
            await ai.ask(role="reaction", archetype="guard", prompt="x")
        ).source is Source.ENGINE
        before = ai._streams[0]
        file.write_text(token())
        await eventually(lambda: ai._streams and ai._streams[0] is not before, 20)
        assert (
            await ai.ask(role="reaction", archetype="guard", prompt="x")
        ).source is Source.ENGINE


async def test_new_keys_of_a_cluster_are_taken_up_and_broken_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_keys, "_POLL_SECONDS", 0.02)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(key_set()))
    tokens = identity()
    following = asyncio.create_task(token_keys.follow_key_file(file, ISSUER, tokens))

    def known(key: rsa.RSAPrivateKey) -> bool:
        presented = {"authorization": f"Bearer {token(key)}"}
        try:
            return tokens.caller(presented).name == "games/server"
        except Exception:  # noqa: BLE001 - any refusal
            return False

    assert known(OURS)
    assert not known(THEIRS)
    for broken in (
        "",
        "[]",
        "null",
        '{"keys": [{"kty": "RSA", "kid": ["x"], "alg": ["x"]}]}',
        '{"keys": [{}]}',
        '{"keys": []}',
    ):
        file.write_text(broken)
        await asyncio.sleep(0.1)
        assert known(OURS)
    file.write_text(json.dumps(key_set(THEIRS)))
    await eventually(lambda: known(THEIRS))
    assert not known(OURS)
    following.cancel()


async def test_a_stream_does_not_outlive_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_service, "LEAVE_SECONDS", 5.0)
    monkeypatch.setattr(Caller, "seconds_left", lambda _: 0.2)
    async with gateway(view()) as served:
        call = aiter(served.stub.StreamAnswers())
        response = await anext(call)
        assert response.going_away
        async with asyncio.timeout(60):
            code, _ = await failure(anext(call))
        assert code is grpc.StatusCode.UNAVAILABLE
        await eventually(lambda: served.service.streams == 0)


async def test_a_token_that_is_refused_is_reported_to_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(THEIRS, kid="k2"))
    async with (
        gateway(view(), identity()) as served,
        Gateway(served.address, token_file=file, insecure=True) as ai,
    ):
        with pytest.raises(AskError, match="signed with a key this cluster has not") as caught:
            await ai.ask(role="reaction", prompt="x", deadline_ms=20_000)
        reply = await ai.ask(role="reaction", prompt="x", deadline_ms=20_000, default="patrol")
    assert (reply.source, reply.degraded_reason) == (Source.OWN_DEFAULT, "CALLER_UNKNOWN")
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_renewed_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    def put(name: str) -> None:
        for suffix in ("crt", "key"):
            shutil.copy(tmp_path / name / f"server.{suffix}", tmp_path / f"tls.{suffix}")

    async def answers(name: str, *, deadline_ms: int = 30_000) -> bool:
        try:
            async with Gateway(address, ca_file=tmp_path / name / "ca.crt") as ai:
                reply = await ai.ask(role="reaction", prompt="A wolf!", deadline_ms=deadline_ms)
        except AskError:
            return False
        return reply.source is Source.ENGINE

    for name in ("first", "second"):
        certificates.write(tmp_path / name)
    put("first")
    flags = (f"--tls-certificate={tmp_path}/tls.crt", f"--tls-key={tmp_path}/tls.key")
    async with AsyncExitStack() as stack:
        _, backend = await stack.enter_async_context(engine())
        file = write_view(tmp_path, backend)
        _, address = await stack.enter_async_context(gateway_program(file, *flags))
        assert await answers("first")
        assert not await answers("second", deadline_ms=3000)
        put("second")
        assert await answers("second")
        assert not await answers("first", deadline_ms=3000)


async def test_a_certificate_is_for_the_name_although_an_address_is_dialled(tmp_path: Path) -> None:
    certificates.write(tmp_path / "ours")
    flags = (
        f"--tls-certificate={tmp_path}/ours/server.crt",
        f"--tls-key={tmp_path}/ours/server.key",
    )
    async with AsyncExitStack() as stack:
        _, backend = await stack.enter_async_context(engine())
        file = write_view(tmp_path, backend)
        _, address = await stack.enter_async_context(gateway_program(file, *flags))
        named = f"localhost:{address.rpartition(':')[2]}"
        ca = tmp_path / "ours/ca.crt"
        async with Gateway(named, ca_file=ca) as ai:
            reply = await ai.ask(role="reaction", prompt="A wolf!", deadline_ms=30_000)
        assert reply.source is Source.ENGINE
        async with Gateway(named, ca_file=ca, server_name="elsewhere.example") as ai:
            with pytest.raises(AskError):
                await ai.ask(role="reaction", prompt="A wolf!", deadline_ms=1000)
