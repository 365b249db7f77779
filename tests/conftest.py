"""Options of the whole suite."""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A pause of the machine is no fault of an example's.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write golden files anew")
    parser.addoption("--soak", action="store_true", help="run every case of the fault sweeps")
    parser.addoption("--e2e", default="", help="environment of the end-to-end tests; make e2e")
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the sampled sweeps; 0: the committed code's"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
    if config.getoption("--soak"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=soak)
    items[:] = [item for item in items if item not in soak]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a failure when it happens: a run that is ended from outside has no summary."""
    report = yield
    if report.failed:
        writer = item.config.get_terminal_writer()
        writer.line(f"\n{item.nodeid} failed in its {report.when} ({report.duration:.0f} s):")
        writer.line("\n".join(report.longreprtext.splitlines()[-12:]))
    return report
