"""Options of the whole suite."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A pause of the machine is no fault of an example's.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="rewrite the golden files")
    parser.addoption("--soak", action="store_true", help="run every case of the fault sweeps")
    parser.addoption(
        "--integrations", action="store_true", help="run the tests with KEDA and Karpenter"
    )
    parser.addoption("--e2e", default="", help="environment of the end-to-end tests; make e2e")
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the sampled sweeps; 0: the committed code's"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for mark in ("soak", "integrations"):
        if not config.getoption(f"--{mark}"):
            left_out = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure when it happens: a run that is ended from outside has no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid} failed in its {report.when} ({report.duration:.0f} s):")
        print("\n".join(report.longreprtext.splitlines()[-12:]), flush=True)
