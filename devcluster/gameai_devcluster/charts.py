"""EDGE: our Helm charts, rendered without a Helm binary."""

from pathlib import Path
from typing import Any

import helm_python
import yaml

from gameai_devcluster.api import Json

CHARTS = Path(__file__).resolve().parents[2] / "charts"
OPERATOR = CHARTS / "gameai-operator"
CRDS = CHARTS / "gameai-crds"
# The same documents in an eighth of the time, where the package has libyaml.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def rendered(
    chart: Path = OPERATOR,
    values: Json | None = None,
    *,
    name: str = "gameai-operator",
    namespace: str = "gameai-system",
) -> list[Json]:
    """Every object of a release. Raises `helm_python.HelmError` for values that the schema refuses."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(loaded.merge_values(values))
        texts: dict[str, Any] = loaded.render(values, name=name, namespace=namespace)
    return [
        document
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=_LOADER)
        if document
    ]
