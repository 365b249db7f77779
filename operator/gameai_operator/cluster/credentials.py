"""EDGE: the credentials of an API server, from a kubeconfig or from the pod, as `kubernetes.aio` reads them."""

from dataclasses import dataclass

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

from gameai_operator.settings import Settings


class CredentialsError(Exception):
    """No way to an API server was found; the message says what to give."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """How to reach the API server, for the watch, which has a client of its own."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    token: str | None
    verify: bool


async def configuration(settings: Settings) -> Configuration:
    """The client's configuration, read again from the kubeconfig or the pod. Raises `CredentialsError`."""
    made = Configuration()
    try:
        if settings.kubeconfig:
            await load_kube_config(config_file=settings.kubeconfig, client_configuration=made)
        else:
            InClusterConfigLoader(
                token_filename=SERVICE_TOKEN_FILENAME, cert_filename=SERVICE_CERT_FILENAME
            ).load_and_set(made)
    except (ConfigException, OSError) as error:
        raise CredentialsError(
            f"no credentials for an API server: {error}; set --kubeconfig, or run in a pod with a ServiceAccount"
        ) from error
    made.connection_pool_maxsize = 64
    # Traffic to the API server must not go through HTTPS_PROXY.
    made.client_session_kwargs = {"trust_env": False}
    return made


async def credentials(settings: Settings) -> Credentials:
    """The same, as plain values."""
    made = await configuration(settings)
    token = await made.get_api_key_with_prefix("BearerToken")
    return Credentials(
        server=made.host,
        ca_file=made.ssl_ca_cert,
        certificate_file=made.cert_file,
        key_file=made.key_file,
        token=bare(token),
        verify=bool(made.verify_ssl),
    )


def bare(token: str | None) -> str | None:
    """Without its scheme, which the library spells in two ways."""
    return token.split()[-1] if token else None
