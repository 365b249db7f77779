"""How a program proves who it is at the bus, and that it says so over encrypted connections alone."""

from pathlib import Path

import pytest
from gameai.bus.login import Password, TokenFile, WorldToken
from gameai_devcluster import certificates
from support.tokens import token


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "token"
    made.write_text(token())
    return made


def test_a_connection_is_encrypted_where_the_authority_is_known(file: Path, tmp_path: Path) -> None:
    certificates.write(tmp_path)
    authority = tmp_path / "ca.crt"
    for login in (
        TokenFile(file=file, ca_file=authority),
        WorldToken(file=file, authority=authority),
        Password(user="streams", password="p", ca_file=authority),
    ):
        options = login.options()
        assert options["tls_handshake_first"]
        assert options["tls"].check_hostname
    assert "tls" not in TokenFile(file=file).options()


def test_a_pod_without_the_authority_sends_its_token_only_where_it_was_allowed(
    file: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "bus-ca.crt"
    with pytest.raises(ValueError, match=r"bus\.tls\.mode"):
        WorldToken(file=file, authority=missing).options()
    assert "tls" not in WorldToken(file=file, authority=missing, insecure=True).options()
    # It comes later, as a file of a ConfigMap does.
    certificates.write(tmp_path)
    (tmp_path / "ca.crt").rename(missing)
    assert "tls" in WorldToken(file=file, authority=missing).options()


def test_no_secret_is_in_what_is_logged(file: Path) -> None:
    assert "p4ss" not in repr(Password(user="streams", password="p4ss"))
    assert file.read_text() not in repr(TokenFile(file=file))
