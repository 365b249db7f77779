"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write golden files anew")
    parser.addoption("--soak", action="store_true", help="run every case of the fault sweeps")
    parser.addoption("--e2e", default="", help="environment of the end-to-end tests; make e2e")
    parser.addoption("--seed", type=int, default=0, help="seed of the sampled sweeps; 0 draws one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=soak)
    items[:] = [item for item in items if item not in soak]
