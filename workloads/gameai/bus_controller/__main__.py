"""`python -m gameai.bus_controller`: decides who connects to the bus, and declares its streams."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gameai_contract.names import HEALTH_PORT

from gameai.bus.streams import streams
from gameai.bus_controller.app import Options, run
from gameai.bus_controller.declaring import UNWANTED_SECONDS
from gameai.bus_controller.secret import secret_name
from gameai.cluster.flags import NoServerError, add_server, server
from gameai.serving import flags, loop
from gameai.serving.identity import MOST_HOURS
from gameai.serving.opening import PortError
from gameai.serving.telemetry import configure_logging

_MOST_REPLICAS = 5
_LEAST_MIB = 64


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; 0 then, 1 where it cannot start."""
    given = _parse(arguments)
    configure_logging(given.log_level)
    try:
        loop.run(run(_options(given)))
    except (NoServerError, PortError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _options(given: argparse.Namespace) -> Options:
    return Options(
        server=server(given),
        namespaces=tuple(filter(None, given.namespaces.split(","))),
        secret=given.secret,
        url=given.bus,
        streams=streams(given.disk_mib << 20),
        replicas=given.stream_replicas,
        token_hours=given.token_hours,
        unwanted_seconds=given.consumer_retention_seconds,
        address=given.address,
        health_port=given.health_port,
        gateways=given.gateway_account,
        ca_file=given.bus_ca,
        certificate=given.bus_certificate,
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gameai.bus_controller",
        description="Decides who connects to the bus and what they may do there, and declares its streams.",
    )
    add_flags(parser)
    return parser.parse_args(arguments)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    _add_brokers(parser)
    add = parser.add_argument
    add(
        "--gateway-account",
        type=_account,
        default="",
        metavar="NAMESPACE/NAME",
        help="ServiceAccount of the gateways, which use the streams of jobs; empty: none may",
    )
    add("--namespaces", default="", help="comma-separated namespaces of worlds; empty: all")
    add(
        "--token-hours",
        type=float,
        default=MOST_HOURS,
        help="maximum validity of accepted tokens, in hours (default: %(default)s)",
    )
    add("--address", default="", help="listen address of the health port (default: all interfaces)")
    add(
        "--health-port",
        type=flags.port,
        default=HEALTH_PORT,
        help=f"port of /livez, /readyz, /metrics (default {HEALTH_PORT}); 0: a free one",
    )
    add_server(parser)
    flags.add_log_level(parser)


def _add_brokers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("brokers").add_argument
    add("--bus", required=True, metavar="URL", help="address of the brokers: nats://HOST:PORT")
    add(
        "--secret",
        type=secret_name,
        required=True,
        metavar="NAMESPACE/NAME",
        help="Secret with the brokers' credentials, created if it is missing",
    )
    add(
        "--bus-ca",
        type=Path,
        help="file with the certificates of the brokers' authority (PEM); without it connections are not encrypted",
    )
    add(
        "--bus-certificate",
        type=Path,
        help="file with the brokers' certificate (PEM): they read theirs again when it changes",
    )
    add(
        "--stream-replicas",
        type=_number(1, _MOST_REPLICAS),
        default=1,
        help=f"servers that keep each stream on disk, from 1 to {_MOST_REPLICAS} (default 1)",
    )
    add(
        "--disk-mib",
        type=_number(_LEAST_MIB),
        required=True,
        help="disk of each server for streams, in MiB; a tenth stays free",
    )
    add(
        "--consumer-retention-seconds",
        type=_number(0),
        default=int(UNWANTED_SECONDS),
        help="how long the position of a consumer is kept that no world wants (default %(default)s)",
    )


def _account(text: str) -> str:
    """For `type` of a flag: a ServiceAccount, or none."""
    if text and (text.count("/") != 1 or not all(text.split("/"))):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAMESPACE/NAME")
    return text


def _number(least: int, most: int | None = None) -> Callable[[str], int]:
    """For `type` of a flag: a whole number within bounds."""
    bounds = f"from {least} to {most}" if most else f"at least {least}"

    def read(text: str) -> int:
        if (
            not text.isascii()
            or not text.isdigit()
            or not least <= int(text) <= (most or int(text))
        ):
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, {bounds}")
        return int(text)

    return read


if __name__ == "__main__":
    sys.exit(main())
