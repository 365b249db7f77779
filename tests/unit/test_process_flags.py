"""The flags that all processes have: a wrong value is refused with what it must be."""

import argparse
from collections.abc import Callable

import pytest
from gameai.gateway.__main__ import main as gateway
from gameai.knowledge.__main__ import main as memory
from gameai.services.weather_manager.__main__ import SERVICE as WEATHER
from gameai.serving import flags
from gameai.serving.main import main as service
from gameai.tier_agent.__main__ import main as agent

PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "service": lambda given: service(WEATHER, given),
    "gateway": gateway,
    "memory": memory,
    "agent": lambda given: agent(["--model=m", "--class=Gold", *given]),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--port=99999", "argument --port: '99999' is not a port: it must be from 0 to 65535"),
        ("--port=-1", "'-1' is not a port"),
        ("--port=http", "'http' is not a port"),
        ("--log-level=loud", "--log-level: 'loud' is not one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(
    program: str, flag: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        PROGRAMS[program]([flag])
    assert raised.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("program", ["service", "gateway", "memory"])
def test_help_names_the_ports_that_are_used_without_flags(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        PROGRAMS[program](["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "(default 50051)" in said
    assert "(default 8080)" in said


@pytest.mark.parametrize("text", ["-1", "3601", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 3600 seconds"):
        flags.seconds(text)


def test_a_level_may_be_written_in_small_letters() -> None:
    parser = argparse.ArgumentParser()
    flags.add_log_level(parser)
    assert parser.parse_args(["--log-level=debug"]).log_level == "DEBUG"
