import argparse

import pytest
from gameai_operator.environment import settings
from gameai_operator.flags import add_flags
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
    ],
)
def test_a_wrong_flag_is_named_with_what_it_takes(flag: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(flag)
