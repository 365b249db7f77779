import os
import subprocess
import sys
from collections import Counter

import pytest
from gameai.services.weather_manager.rules import process as module
from gameai.services.weather_manager.rules.climate import EFFECTS, FOLLOWS, SEASONS_OF, Sky
from gameai.services.weather_manager.rules.process import MOST_BACK, Process, process
from gameai_contract.catalogue import CATALOGUE
from gameai_contract.world_time import DAYS_PER_SEASON, MICROSECOND, SEASONS
from hypothesis import given
from hypothesis import strategies as st

STEP = 3600 * MICROSECOND
SEASON = DAYS_PER_SEASON * 24
steps = st.integers(min_value=0, max_value=10**7)


def made(climate: str = "Temperate", seed: int = 42) -> Process:
    return Process(seed=seed, climate=climate, regions=("coast", "moor"), step=STEP)


def test_every_climate_has_every_season_and_every_sky_its_followers() -> None:
    choices = CATALOGUE["weather-manager"].settings["climate"].choices
    assert set(SEASONS_OF) == set(choices)
    assert {tuple(each) for each in SEASONS_OF.values()} == {SEASONS}
    assert set(FOLLOWS) == set(EFFECTS) == set(Sky)
    assert {sum(each.values()) for each in FOLLOWS.values()} == {100}
    assert {sum(s.weights.values()) for each in SEASONS_OF.values() for s in each.values()} == {100}


def test_a_process_is_read_from_settings() -> None:
    settings = {"climate": "Polar", "stepMinutes": "30", "regions": "a"}
    found = process(7, settings, ("a",))
    assert (found.climate, found.step, found.seed) == ("Polar", 1800 * MICROSECOND, 7)


def test_any_replica_says_the_same_in_whatever_process_it_runs() -> None:
    code = (
        "from gameai.services.weather_manager.rules.process import Process;"
        "p = Process(seed=42, climate='Temperate', regions=('moor',), step=3600 * 10**6);"
        "print([p.of_step('moor', n).temperature_centidegrees for n in range(10**6, 10**6 + 50)])"
    )
    # Another hash seed: nothing may lean on the order of a set or on hash().
    environment = {"PYTHONHASHSEED": "7", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    here = [made().of_step("moor", n).temperature_centidegrees for n in range(10**6, 10**6 + 50)]
    assert done.stdout.strip() == str(here)


@given(steps)
def test_a_step_is_the_same_wherever_in_it_one_asks(number: int) -> None:
    found = made()
    begins = found.of_step("moor", number).begins
    assert found.at("moor", begins) == found.at("moor", begins + STEP - 1)
    assert found.at("moor", begins + STEP) == found.of_step("moor", number + 1)


def test_it_is_a_chain_each_step_follows_from_the_one_before_or_is_a_renewal() -> None:
    found = made()
    raw = [found.of_step("coast", number).sky for number in range(5 * 24)]
    for number in range(1, len(raw)):
        if not found._renews("coast", number):
            assert raw[number] in FOLLOWS[raw[number - 1]]


def test_regions_and_seeds_have_weathers_of_their_own() -> None:
    def skies(found: Process, region: str) -> list[Sky]:
        return [found.of_step(region, number).sky for number in range(200)]

    assert skies(made(), "coast") != skies(made(), "moor")
    assert skies(made(), "coast") != skies(made(seed=43), "coast")


def test_weather_long_after_the_beginning_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws(number: int) -> int:
        calls = 0
        real = Process._chance

        def counted(self: Process, region: str, step: int, what: str) -> float:
            nonlocal calls
            calls += 1
            return real(self, region, step, what)

        monkeypatch.setattr(module.Process, "_chance", counted)
        for each in range(number, number + 100):
            made().of_step("coast", each)
        monkeypatch.undo()
        return calls

    early, late = draws(10_000), draws(10**12)
    assert late < 2 * early
    assert draws(10**12) / 100 < 100


def test_however_unlucky_it_never_looks_back_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.0)
    calls: list[int] = []
    real = Process._renews

    def counted(self: Process, region: str, number: int) -> bool:
        calls.append(number)
        return real(self, region, number)

    monkeypatch.setattr(module.Process, "_renews", counted)
    made().of_step("coast", MOST_BACK - 1)
    assert len(calls) == MOST_BACK


@pytest.mark.parametrize("climate", SEASONS_OF)
def test_it_snows_only_where_and_when_it_is_cold(climate: str) -> None:
    found = made(climate)
    for index, season in enumerate(SEASONS):
        seen = Counter(found.of_step("coast", index * SEASON + n).sky for n in range(0, SEASON, 9))
        weather = SEASONS_OF[climate][season]
        if Sky.SNOW not in weather.weights:
            assert not seen[Sky.SNOW]
        if weather.mean_centidegrees <= -100:
            assert not seen[Sky.RAIN]
            assert not seen[Sky.STORM]


def test_summer_is_warmer_than_winter_and_the_afternoon_than_the_night() -> None:
    found = made()

    def mean(first: int, hour: int) -> float:
        days = [found.of_step("moor", first + 24 * day + hour) for day in range(80)]
        return sum(each.temperature_centidegrees for each in days) / len(days)

    assert mean(SEASON, 12) > mean(3 * SEASON, 12) + 1000
    assert mean(SEASON, 15) > mean(SEASON, 3) + 500


@given(steps)
def test_wind_and_humidity_stay_within_their_bounds(number: int) -> None:
    found = made().of_step("coast", number)
    assert 0 <= found.wind_centimetres_per_second <= 2600
    assert 0 <= found.humidity_permille <= 1000


def test_a_chance_that_falls_on_no_sky_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        module._drawn({Sky.CLEAR: 1}, 1.0)


@pytest.mark.parametrize("first", [0, 10**6, MOST_BACK - 3])
def test_a_forecast_says_what_each_of_its_steps_says_alone(first: int) -> None:
    found = made()
    alone = [found.of_step("coast", number) for number in range(first, first + 60)]
    assert list(found.ahead("coast", first, 60)) == alone
