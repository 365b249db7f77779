"""Kinds of other projects: which are used, and that their trouble stops none of ours."""

from typing import Any

import pytest
from gameai_operator.cluster.sync import Discovery
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.kind import Absence
from gameai_operator.controller.manifest import Resource

OURS = Resource(group="", version="v1", kind="Pod", plural="pods")
THEIRS = Resource(group="keda.sh", version="v1alpha1", kind="ScaledObject", plural="scaledobjects")
LIST = "/apis/keda.sh/v1alpha1/scaledobjects"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh"
SERVED: dict[str, Any] = {
    "/api/v1": {"resources": [{"name": "pods"}]},
    "/apis/keda.sh/v1alpha1": {"resources": [{"name": "scaledobjects"}]},
    LIST: {"items": []},
    CRD: {"good": True},
}


class Answers:
    """An API server that answers, or refuses with a status, by path."""

    def __init__(self, changed: dict[str, Any]) -> None:
        self.by_path = SERVED | changed

    async def request(self, method: str, path: str, **_: Any) -> Any:
        assert method == "GET"
        answer = self.by_path.get(path, 404)
        if isinstance(answer, int):
            raise ApiError(answer, "Refused", "by the test")
        return answer


def discovery(changed: dict[str, Any], *namespaces: str) -> Discovery:
    return of(Answers(changed), *namespaces)


def of(answers: Answers, *namespaces: str) -> Discovery:
    return Discovery(
        answers,  # type: ignore[arg-type] # only this method is called
        [OURS, THEIRS],
        [],
        optional={THEIRS: lambda definition: bool(definition.get("good"))},
        namespaces=namespaces,
        selector="app.kubernetes.io/managed-by=gameai-operator",
    )


@pytest.mark.parametrize(
    ("changed", "absence"),
    [
        ({}, None),
        ({CRD: 403}, None),
        ({"/apis/keda.sh/v1alpha1": 404}, Absence.MISSING),
        ({"/apis/keda.sh/v1alpha1": {"resources": []}}, Absence.MISSING),
        ({"/apis/keda.sh/v1alpha1": 403}, Absence.MISSING),
        ({"/apis/keda.sh/v1alpha1": 503}, Absence.MISSING),
        ({CRD: 404}, Absence.MISSING),
        ({LIST: 403}, Absence.FORBIDDEN),
        ({LIST: 500}, Absence.UNREADABLE),
        ({LIST: 503}, Absence.UNREADABLE),
        ({CRD: 500}, Absence.UNREADABLE),
        ({CRD: {"good": False}}, Absence.UNSUPPORTED),
        ({CRD: {}}, Absence.UNSUPPORTED),
    ],
)
async def test_a_kind_of_another_project_is_used_or_absent_and_ours_are_always(
    changed: dict[str, Any], absence: Absence | None
) -> None:
    found = discovery(changed)
    await found.look()
    assert found.absent == ({} if absence is None else {"ScaledObject": absence})
    assert found.served == ((OURS, THEIRS) if absence is None else (OURS,))
    assert found.complete


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_bad_answer_takes_nothing_away_that_was_read_before(status: int) -> None:
    answers = Answers({})
    found = of(answers)
    await found.look()
    answers.by_path[LIST] = status
    await found.look()
    assert found.served == (OURS, THEIRS)
    assert found.absent == {}
    answers.by_path["/apis/keda.sh/v1alpha1"] = 404
    await found.look()
    assert found.absent == {"ScaledObject": Absence.MISSING}
    assert not await found.appeared()
    answers.by_path["/apis/keda.sh/v1alpha1"] = SERVED["/apis/keda.sh/v1alpha1"]
    assert await found.appeared()


async def test_a_kind_that_cannot_be_used_yet_is_looked_at_again() -> None:
    answers = Answers({LIST: 503})
    found = of(answers)
    await found.look()
    assert await found.appeared(), "a new kind does not answer in its first moment"
    answers.by_path[LIST] = {"items": []}
    await found.look()
    assert not await found.appeared()
    assert found.absent == {}


async def test_without_an_answer_nothing_is_concluded() -> None:
    found = discovery({LIST: 0})
    with pytest.raises(ApiError):
        await found.look()
    assert not found.complete


@pytest.mark.parametrize(
    ("readable", "absence"), [("b", None), ("c", Absence.FORBIDDEN)], ids=["one", "none"]
)
async def test_a_right_in_one_of_the_namespaces_is_enough(
    readable: str, absence: Absence | None
) -> None:
    lists = {f"/apis/keda.sh/v1alpha1/namespaces/{name}/scaledobjects": 403 for name in "ab"}
    allowed = f"/apis/keda.sh/v1alpha1/namespaces/{readable}/scaledobjects"
    found = discovery({**lists, allowed: {"items": []}}, "a", "b")
    await found.look()
    assert found.absent.get("ScaledObject") is absence
