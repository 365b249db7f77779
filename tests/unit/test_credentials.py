"""What the operator shows an API server: from a kubeconfig, or as a pod."""

from pathlib import Path

import pytest
import yaml
from gameai_operator.cluster import credentials as source
from gameai_operator.cluster.credentials import CredentialsError, credentials
from gameai_operator.settings import Settings

TOKEN = "header.payload.signature"


async def test_a_pod_shows_its_service_accounts_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library puts `bearer ` before it, where a kubeconfig's has `Bearer `.
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "ca.crt").write_text("certificate")
    monkeypatch.setattr(source, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(source, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = await credentials(Settings())
    assert found.token == TOKEN
    assert found.server == "https://10.0.0.1:443"
    assert found.ca_file == str(tmp_path / "ca.crt")


async def test_a_kubeconfigs_token_is_shown(tmp_path: Path) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    assert (await credentials(Settings(kubeconfig=str(file)))).token == TOKEN


async def test_without_either_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(CredentialsError, match="set --kubeconfig, or run in a pod"):
        await credentials(Settings())
