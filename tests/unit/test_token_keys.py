"""The keys of tokens, as the operator reads them from an API server."""

from typing import Any

import pytest
from gameai_contract.knowledge import TokenKeys
from gameai_operator.cluster.token_keys import KnownKeys
from gameai_operator.controller.errors import ApiError

ISSUER = "https://kubernetes.default.svc"


class Server:
    """Answers from a table; an error in it is raised."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/.well-known/openid-configuration": {"issuer": ISSUER},
            "/openid/v1/jwks": {"keys": [{"kid": "one"}]},
        }

    async def request(self, method: str, path: str, *, accept: str) -> Any:
        # An API server gives keys in this form alone.
        assert "application/jwk-set+json" in accept
        answer = self.answers[path]
        if isinstance(answer, ApiError):
            raise answer
        return answer


async def test_new_keys_are_said_once() -> None:
    server, said = Server(), []
    known = KnownKeys(server)
    for _ in range(2):
        await known.read(lambda: said.append(known.keys))
    assert said == [TokenKeys(issuer=ISSUER, keys={"keys": [{"kid": "one"}]})]
    server.answers["/openid/v1/jwks"] = {"keys": [{"kid": "two"}]}
    await known.read(lambda: said.append(known.keys))
    assert len(said) == 2


@pytest.mark.parametrize("answer", [ApiError(403, "Forbidden", "no"), {}, None, []])
async def test_known_keys_stay_where_they_cannot_be_read(answer: Any) -> None:
    server = Server()
    known = KnownKeys(server)
    await known.read(lambda: None)
    server.answers["/openid/v1/jwks"] = answer
    await known.read(lambda: pytest.fail("nothing is new"))
    assert known.keys is not None
