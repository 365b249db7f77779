"""Who may ask the memory what: real tokens, and the file that the operator writes."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai import client
from gameai.knowledge.v1 import concepts_pb2, history_pb2
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai_contract.knowledge import MEMORY_AUDIENCE, Admission, MemoryCaller, TokenKeys
from gameai_contract.names import CONFIG_ENVIRONMENT, MEMORY_TOKEN_ENVIRONMENT
from gameai_contract.world_config import ConfigError
from gameai_devcluster.testing.waiting import until
from support import worlds
from support.memory import Memory, Served, served
from support.tokens import ISSUER, THEIRS, key_set, metadata_of, token

LORE = "# Ferries\n\n## Tam\n\nThe ferry of Tam crosses the lake Orr at dawn.\n"
TOKENS = TokenKeys(issuer=ISSUER, keys=key_set())
SERVER = MemoryCaller(account="servers/moor", worlds=("games/moor",))
EDITOR = MemoryCaller(account="games/editor", worlds=("games/moor",), reviews=True)


def admitted(*callers: MemoryCaller, tokens: TokenKeys = TOKENS) -> str:
    return Admission(namespace="games", tokens=tokens, callers=callers).text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "admission.json"
    made.write_text(admitted(SERVER, EDITOR))
    return made


@pytest.fixture
def service(memory: Memory, file: Path, tmp_path: Path) -> Iterator[Served]:
    memory.ingest({"a.md": LORE})
    for world in ("games/moor", "games/fen"):
        memory.ingest({"a.md": LORE}, name="chronicle", world=world)
    with served(memory.url, tmp_path, f"--admission-file={file}") as made:
        yield made


def metadata(account: str, **claims: Any) -> tuple[tuple[str, str | bytes], ...]:
    return metadata_of(account, MEMORY_AUDIENCE, **claims)


def code(service: Served, account: str, world: str = "", **claims: Any) -> str:
    request = pb.SearchRequest(text="ferry", world=world)
    try:
        service.knowledge.Search(request, timeout=20, metadata=metadata(account, **claims))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


@pytest.mark.parametrize(
    ("account", "world", "expected"),
    [
        ("games/default", "", "OK"),
        ("games/default", "games/moor", "account games/default may not read world games/moor"),
        ("games/moor-world", "games/moor", "OK"),
        ("games/moor-world", "games/fen", "PERMISSION_DENIED"),
        ("servers/moor", "games/moor", "OK"),
        ("servers/moor", "games/fen", "PERMISSION_DENIED"),
        ("servers/other", "", "account servers/other may not call this memory"),
    ],
)
def test_a_caller_reads_the_worlds_that_are_its_own(
    service: Served, account: str, world: str, expected: str
) -> None:
    assert expected in code(service, account, world)


def test_a_batch_is_refused_as_a_whole(service: Served) -> None:
    requests = [pb.SearchRequest(text="ferry", world=each) for each in ("games/moor", "games/fen")]
    with pytest.raises(grpc.RpcError, match="may not read world games/fen"):
        service.knowledge.BatchSearch(
            pb.BatchSearchRequest(requests=requests), timeout=20, metadata=metadata("servers/moor")
        )


def test_one_account_has_a_limited_number_of_calls_open(service: Served) -> None:
    request = pb.SearchRequest(text="ferry " * 600)
    flood = [
        service.knowledge.Search.future(request, timeout=20, metadata=metadata("servers/moor"))
        for _ in range(80)
    ]
    assert code(service, "games/default") == "OK", "another account is answered"
    refused = [each.details() for each in flood if each.exception() is not None]
    assert refused
    assert all("account servers/moor has 16 calls open in this pod" in each for each in refused)
    assert len(flood) - len(refused) >= 16
    assert code(service, "servers/moor") == "OK", "and this one again when they have ended"


def test_callers_without_a_good_token_are_refused(service: Served) -> None:
    with pytest.raises(grpc.RpcError, match="send `authorization: Bearer <token>`"):
        service.search("ferry")
    assert "audience is not gameai-memory" in code(service, "games/default", aud=["other"])
    assert "UNAUTHENTICATED" in code(service, "games/default", key=THEIRS)


def test_a_caller_without_a_token_is_refused_before_its_request_is_read(service: Served) -> None:
    sent = threading.Event()

    def silent() -> Iterator[bytes]:
        sent.wait(60)
        yield b""

    call: Any = service.channel.stream_unary("/gameai.knowledge.v1.KnowledgeService/BatchSearch")
    with pytest.raises(grpc.RpcError) as raised:
        call(silent(), timeout=5)
    sent.set()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_only_reviewers_decide_and_under_their_own_name(service: Served, memory: Memory) -> None:
    rollback = pb.RollbackSourceRequest(world="games/moor", source="chronicle", reviewer="somebody")
    with pytest.raises(grpc.RpcError, match="account servers/moor may not review"):
        service.ingestion.RollbackSource(rollback, timeout=20, metadata=metadata("servers/moor"))
    editor = metadata("games/editor")
    assert service.ingestion.RollbackSource(rollback, timeout=20, metadata=editor).rejected == 1
    assert memory.rows("SELECT reviewer FROM memory_ops.reviews") == [("games/editor",)]
    elsewhere = pb.ListQuarantineRequest(world="games/fen")
    with pytest.raises(grpc.RpcError, match="may not read world games/fen"):
        service.ingestion.ListQuarantine(elsewhere, timeout=20, metadata=editor)


def test_a_changed_file_is_taken_up_and_a_broken_one_leaves_the_last(
    service: Served, file: Path
) -> None:
    assert code(service, "servers/moor") == "OK"
    file.write_text(admitted(EDITOR))
    until("it is out", lambda: "may not call" in code(service, "servers/moor"), seconds=60)
    file.write_text("{")
    until("the log says so", lambda: "stays as it was" in service.log.read_text(), seconds=60)
    assert code(service, "games/editor") == "OK"


def test_nobody_is_admitted_before_the_keys_are_there(memory: Memory, tmp_path: Path) -> None:
    file = tmp_path / "later.json"
    with served(memory.url, tmp_path, f"--admission-file={file}") as service:
        until("it says why", lambda: "does not say yet" in service.get("/readyz")[1], seconds=60)
        assert "UNAUTHENTICATED" in code(service, "games/default")
        file.write_text(admitted())
        until("it is ready", lambda: service.get("/readyz")[0] == 200, seconds=60)
        assert code(service, "games/default") == "OK"


def in_a_pod(service: Served, folder: Path, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """What the operator gives a service of the world games/moor."""
    config = json.loads(worlds.configuration())
    known = {"world": "moor", "namespace": "games", "memory": {"endpoint": service.address}}
    (folder / "world.json").write_text(json.dumps(config | known))
    subject = f"system:serviceaccount:{account.replace('/', ':')}"
    (folder / "memory-token").write_text(token(sub=subject, aud=[MEMORY_AUDIENCE]))
    monkeypatch.setenv(CONFIG_ENVIRONMENT, str(folder / "world.json"))
    monkeypatch.setenv(MEMORY_TOKEN_ENVIRONMENT, str(folder / "memory-token"))


async def test_a_service_of_a_world_asks_with_what_its_pod_has(
    service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_pod(service, tmp_path, monkeypatch, "games/moor-world")
    event = history_pb2.Event(
        key="a", kind="loss", world_seconds=5, summary="The ferry sank.", confidence=90
    )
    event.evidence, event.importance = history_pb2.EVIDENCE_RUMOUR, 70
    async with client.Memory.of_world(insecure=True) as memory:
        found = await memory.search("Who crosses the lake?", count=3)
        scopes = {each.scope for each in found.hits}
        assert scopes == {pb.SCOPE_GLOBAL, pb.SCOPE_WORLD}
        with pytest.raises(client.QuestionError, match="count"):
            await memory.search("ferry", count=1000)
        [written] = await memory.append_events(event)
        assert (written.sequence, written.state) == (1, history_pb2.EVENT_STATE_LIVE)
        [hit] = await memory.search_events("sunk ships", count=1)
        assert hit.event.event == event
        assert not await memory.search_events("sunk ships", until_world_seconds=4)
        page = await memory.list_events()
        assert (page.events[0].event, page.next_after_sequence) == (event, 1)
        mason = concepts_pb2.Concept(kind="person", name="Ilda", summary="A mason.")
        assert await memory.evolve_concept(mason) == 1
        read = await memory.concept("person", "Ilda")
        assert read is not None
        assert read.concept == mason
        assert await memory.concept("person", "Tam") is None
        [known] = await memory.search_concepts("stone", kinds=["person"])
        assert known.version.concept == mason
        mason.summary = "A queen."
        with pytest.raises(client.ConflictError, match="is at version 1, not 0") as conflict:
            await memory.evolve_concept(mason)
        assert conflict.value.reason == "VERSION_CONFLICT"
        # The kubelet renews the token; this one is of another account.
        in_a_pod(service, tmp_path, monkeypatch, "games/fen-world")
        with pytest.raises(client.AccessError, match="may not read world games/moor") as refused:
            await memory.search("ferry")
        assert refused.value.reason == "CALLER_NOT_ADMITTED"


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with Memory"):
        await client.Memory("127.0.0.1:9").search("ferry")


async def test_a_memory_that_does_not_answer_is_an_error_in_time(tmp_path: Path) -> None:
    async with client.Memory("127.0.0.1:9") as memory:
        with pytest.raises(
            client.NoAnswerError, match=r"no answer from 127\.0\.0\.1:9 within 0\.2 s"
        ):
            await memory.search("ferry", timeout_seconds=0.2)


async def test_a_pod_without_a_memory_says_what_to_set(
    service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="GAMEAI_MEMORY_TOKEN must be set"):
        client.Memory.of_world(insecure=True)
    in_a_pod(service, tmp_path, monkeypatch, "games/moor-world")
    with pytest.raises(ValueError, match="insecure=True"):
        client.Memory.of_world()
    with pytest.raises(ValueError, match="write host:port"):
        client.Memory("http://lore:50051")
    with pytest.raises(ValueError, match="insecure=True"):
        client.Memory("lore:50051", token_file="token")


async def test_a_service_follows_the_address_of_its_memory(
    service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_pod(service, tmp_path, monkeypatch, "games/moor-world")
    given = json.loads((tmp_path / "world.json").read_text())
    for address in ("", "127.0.0.1:9"):
        (tmp_path / "world.json").write_text(json.dumps(given | {"memory": {"endpoint": address}}))
        async with client.Memory.of_world(insecure=True) as memory:
            with pytest.raises(client.NoAnswerError):
                await memory.search("ferry", timeout_seconds=0.2)
            (tmp_path / "world.json").write_text(json.dumps(given))
            assert (await memory.search("ferry")).hits
