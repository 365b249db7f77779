import argparse

import pytest
from gameai_operator.environment import settings
from gameai_operator.flags import add_flags, add_scaler_flags
from gameai_operator.settings import Settings


def made(*flags: str, **environment: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser, environment)
    return settings(parser.parse_args(flags))


def test_defaults_are_those_of_the_settings() -> None:
    assert made().lease.duration_seconds == 15.0
    assert made().namespaces == ()
    assert made().kubeconfig is None


def test_the_environment_sets_and_a_flag_wins() -> None:
    assert made(GAMEAI_WORKERS="4").workers == 4
    assert made("--workers=7", GAMEAI_WORKERS="4").workers == 7


def test_lists_are_given_with_commas() -> None:
    assert made("--namespaces=a, b,").namespaces == ("a", "b")
    assert made("--capacity-spot=SPOT").capacity.spot == ("SPOT",)


def test_two_processes_of_a_host_are_two_candidates() -> None:
    assert made().lease.identity != made().lease.identity


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--workers=0", "--workers must be from 1 to 100"),
        ("--workers=101", "--workers must be from 1 to 100"),
        ("--lease-renew-seconds=20", "must hold"),
        ("--lease-name=", "must not be empty"),
        ("--resync-seconds=0", "--resync-seconds must be at least"),
        ("--discovery-seconds=0", "--discovery-seconds must be at least"),
        ("--request-seconds=0", "--request-seconds must be at least"),
        ("--capacity-spot=", "must not be empty"),
        ("--log-level=loud", "--log-level must be"),
        ("--keda-scaler-address=scaler", "--keda-scaler-address must be host:port"),
        ("--keda-authentication=ca", "--keda-authentication needs --keda-scaler-address"),
    ],
)
def test_a_wrong_flag_is_named_with_what_it_takes(flag: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(flag)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--gateways=gateway", "--gateways must be host:port"),
        ("--keda-port=65536", "--keda-port must be from 0 to 65535"),
        ("--keda-key-file=tls.key", "must be set together"),
    ],
)
def test_a_wrong_flag_of_the_scaler_is_named_too(flag: str, words: str) -> None:
    parser = argparse.ArgumentParser()
    add_scaler_flags(parser, {})
    assert settings(parser.parse_args(["--keda-port=0"])).scaler.keda_port == 0
    with pytest.raises(ValueError, match=words):
        settings(parser.parse_args([flag]))
