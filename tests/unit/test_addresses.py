import pytest
from gameai.client import Gateway
from gameai.gateway.__main__ import main


@pytest.mark.parametrize(
    "address", ["gateway.games.svc:50051", "127.0.0.1:1,[::1]:50051", "a:1, b:2"]
)
def test_an_address_of_a_gateway_is_host_and_port(address: str) -> None:
    Gateway(address, world="games/moor")


@pytest.mark.parametrize(
    ("address", "world", "words"),
    [
        ("http://127.0.0.1:50051", "", "address 'http://127.0.0.1:50051': write host:port"),
        ("127.0.0.1", "", "address '127.0.0.1': write host:port"),
        ("", "", "write host:port"),
        ("127.0.0.1:1", "moor", "world 'moor': write namespace/name"),
    ],
)
def test_another_address_or_world_says_how_to_write_it(
    address: str, world: str, words: str
) -> None:
    with pytest.raises(ValueError, match="write") as raised:
        Gateway(address, world=world)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "given", ["moor/gold", "gold=a:1", "moor/gold=a", "moor/gold=http://a:8001"]
)
def test_an_endpoint_of_another_form_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--view=none.yaml", "--insecure-no-identity", f"--endpoint={given}"]) == 1
    assert f"--endpoint {given}: write NAMESPACE/TIER=HOST:PORT" in capsys.readouterr().err
