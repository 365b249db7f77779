"""`python -m gameai.gateway`: one process, one core, one pod."""

import argparse
import contextlib
import sys
from pathlib import Path

from gameai_contract.names import GRPC_PORT, HEALTH_PORT

from gameai.bus.login import TokenFile
from gameai.cluster.flags import NoServerError, add_server, server
from gameai.gateway.app import Bus, Listening, Sources, StartError, run
from gameai.gateway.sources.cluster import Scope
from gameai.gateway.sources.view_file import ViewError
from gameai.serving import flags, loop
from gameai.serving.identity import AUDIENCE, MOST_HOURS
from gameai.serving.opening import PortError
from gameai.serving.telemetry import configure_logging

_DRAIN_SECONDS = 30.0
_ISSUER = "https://kubernetes.default.svc.cluster.local"


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; 0 then, 1 where it cannot start."""
    given = _parse(arguments)
    configure_logging(given.log_level)
    _raise_descriptors()
    try:
        loop.run(run(_listening(given), _sources(given)))
    except (StartError, NoServerError, ViewError, PortError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _raise_descriptors() -> None:
    """As many connections as the system allows: each question at an engine takes one."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listening(given: argparse.Namespace) -> Listening:
    return Listening(
        # Without identity only this machine may connect, unless an address is given.
        address=given.address or ("127.0.0.1" if given.insecure_no_identity else ""),
        port=given.port,
        health_port=given.health_port,
        certificate=given.tls_certificate,
        key=given.tls_key,
        drain_seconds=given.drain_seconds,
    )


def _sources(given: argparse.Namespace) -> Sources:
    return Sources(
        view=given.view,
        server=server(given) if given.cluster else None,
        scope=Scope(
            namespaces=tuple(filter(None, given.namespaces.split(","))),
            own_namespace=given.own_service.partition("/")[0],
            own_service=given.own_service.partition("/")[2],
        ),
        keys=given.keys,
        issuer=given.issuer,
        audience=given.audience,
        token_hours=given.token_hours,
        endpoints=_endpoints(given.endpoint),
        identity=not given.insecure_no_identity,
        bus=_bus(given),
    )


def _bus(given: argparse.Namespace) -> Bus | None:
    if not given.bus:
        return None
    token = given.bus_token
    if token is None:
        return Bus(url=given.bus, login=None)
    login = TokenFile(file=token, scoped=False, ca_file=given.bus_ca)
    return Bus(url=given.bus, login=login)


def _endpoints(given: list[str]) -> dict[str, list[str]]:
    """Addresses by tier. Raises `StartError`."""
    found: dict[str, list[str]] = {}
    for each in given:
        tier, equals, address = each.partition("=")
        well = equals and tier.count("/") == 1 and address.rpartition(":")[2].isdigit()
        if not well or "/" in address:
            raise StartError(f"--endpoint {each}: write NAMESPACE/TIER=HOST:PORT, without http://")
        found.setdefault(tier, []).append(address)
    return found


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gameai.gateway",
        description="Answers questions of NPCs in time, from engines, a cache or defaults.",
    )
    add_flags(parser)
    given = parser.parse_args(arguments)
    if bool(given.view) == given.cluster:
        parser.error("give one of --view and --cluster")
    if given.keys and given.insecure_no_identity:
        parser.error("give one of --keys and --insecure-no-identity")
    if not (given.cluster or given.keys or given.insecure_no_identity):
        parser.error("--view needs one of --keys and --insecure-no-identity")
    if bool(given.tls_certificate) != bool(given.tls_key):
        parser.error("--tls-certificate and --tls-key go together")
    if given.endpoint and not given.view:
        parser.error("--endpoint needs --view")
    for flag, needed in (("bus_token", "bus"), ("bus_ca", "bus_token")):
        if getattr(given, flag) and not getattr(given, needed):
            parser.error(f"--{flag.replace('_', '-')} needs --{needed.replace('_', '-')}")
    return given


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    _add_sources(parser)
    _add_callers(parser)
    _add_jobs(parser)
    add = parser.add_argument
    add(
        "--address",
        default="",
        help="listen address (default: all interfaces; 127.0.0.1 with --insecure-no-identity)",
    )
    add(
        "--port",
        type=flags.port,
        default=GRPC_PORT,
        help=f"port of gRPC (default {GRPC_PORT}); 0: a free one, which is printed",
    )
    add(
        "--health-port",
        type=flags.port,
        default=HEALTH_PORT,
        help=f"port of /livez, /readyz, /metrics (default {HEALTH_PORT}); 0: a free one",
    )
    add(
        "--tls-certificate",
        type=Path,
        help="file with the certificate (PEM), read again when it changes; without it connections are not encrypted",
    )
    add("--tls-key", type=Path, help="file with the private key (PEM)")
    add(
        "--drain-seconds",
        type=float,
        default=_DRAIN_SECONDS,
        help="maximum time for streams to end after SIGTERM, in seconds",
    )
    flags.add_log_level(parser)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tiers and worlds")
    where = group.add_argument
    where(
        "--view",
        type=Path,
        help="YAML file with tiers and worlds (manifests, or the short form); read again when it changes",
    )
    where(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAMESPACE/TIER=HOST:PORT",
        help="with manifests in --view: address of an engine of a tier; may be repeated",
    )
    where("--cluster", action="store_true", help="read tiers and worlds from the cluster")
    where("--namespaces", default="", help="comma-separated namespaces; empty: all")
    where(
        "--own-service",
        type=_own_service,
        default="",
        help="namespace/name of the gateways' Service; the engine slots are divided among its pods",
    )
    add_server(group)


def _own_service(text: str) -> str:
    """For `type` of a flag: a Service, or none."""
    if text and text.count("/") != 1:
        raise argparse.ArgumentTypeError("it must be namespace/name")
    return text


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("jobs").add_argument
    where(
        "--bus",
        default="",
        metavar="URL",
        help="address of the event bus, which keeps jobs: nats://HOST:PORT; without it no jobs are taken",
    )
    where(
        "--bus-token",
        type=Path,
        help="file with a ServiceAccount token for the bus, read again for each connection",
    )
    where(
        "--bus-ca",
        type=Path,
        help="file with the certificates of the bus's authority (PEM); without it the token crosses the network in clear",
    )


def _add_callers(parser: argparse.ArgumentParser) -> None:
    who = parser.add_argument_group("callers").add_argument
    who(
        "--keys",
        type=Path,
        help="file with a JSON Web Key Set, read again when it changes (default with --cluster: the keys of the cluster)",
    )
    who("--issuer", default=_ISSUER, help="with --keys: issuer of ServiceAccount tokens")
    who("--audience", default=AUDIENCE, help="required audience of tokens (default: %(default)s)")
    who(
        "--token-hours",
        type=float,
        default=MOST_HOURS,
        help="maximum validity of accepted tokens, in hours (default: %(default)s)",
    )
    who(
        "--insecure-no-identity",
        action="store_true",
        help="accept all callers for all worlds, without tokens: for laptops",
    )


if __name__ == "__main__":
    sys.exit(main())
