import dataclasses

import pytest
from gameai_contract.inference import LatencyClass
from gameai_operator.resources.deployment import TEMPLATE_INPUTS
from gameai_operator.resources.template_revision import UnknownRevisionError
from gameai_operator.settings import CapacityLabels
from gameai_operator.tier.revisions import (
    NEWEST,
    REVISIONS,
    Inputs,
    inputs,
    model_revision,
    parse,
)
from support import tiers

EKS = Inputs(
    revision=1,
    capacity=CapacityLabels(
        label="eks.amazonaws.com/capacityType", spot=("SPOT",), on_demand=("OD",)
    ),
)
FIRST = dataclasses.replace(tiers.CURRENT, revision=1)
TIER = tiers.tier()
SAME = model_revision(TIER.spec)


def test_every_class_has_a_profile_in_every_revision() -> None:
    assert all(set(profiles) == set(LatencyClass) for profiles in REVISIONS.values())


def test_a_new_tier_gets_what_the_operator_has_now() -> None:
    assert inputs(TIER.spec, None, None, tiers.CURRENT) == tiers.CURRENT


def test_a_changed_chart_setting_does_not_reach_a_live_tier() -> None:
    live = tiers.deployment(model_revision=SAME, remembered={TEMPLATE_INPUTS: EKS.text()})
    assert inputs(TIER.spec, 1, live, tiers.CURRENT) == EKS


def test_another_model_takes_the_newest() -> None:
    live = tiers.deployment(model_revision="other", remembered={TEMPLATE_INPUTS: EKS.text()})
    assert inputs(TIER.spec, 1, live, tiers.CURRENT) == tiers.CURRENT


def test_what_a_hand_edited_is_not_believed() -> None:
    live = tiers.deployment(model_revision=SAME, remembered={})
    # The revision in status is ours; of the settings there is no memory left.
    assert inputs(TIER.spec, 1, live, tiers.CURRENT) == FIRST
    assert inputs(TIER.spec, None, live, tiers.CURRENT).revision == NEWEST


def test_a_tier_whose_deployments_are_gone_keeps_its_revision() -> None:
    with pytest.raises(UnknownRevisionError):
        inputs(TIER.spec, 99, None, tiers.CURRENT)


def test_a_revision_asked_for_is_given() -> None:
    asked = tiers.tier(templateRevision=1)
    assert inputs(asked.spec, None, None, tiers.CURRENT).revision == 1


def test_asking_for_another_revision_takes_the_present_settings() -> None:
    live = tiers.deployment(
        model_revision=SAME,
        remembered={TEMPLATE_INPUTS: Inputs(revision=99, capacity=EKS.capacity).text()},
    )
    asked = tiers.tier(templateRevision=1)
    assert inputs(asked.spec, 99, live, tiers.CURRENT) == FIRST


def test_a_revision_of_a_newer_operator_is_said_with_the_remedy() -> None:
    with pytest.raises(
        UnknownRevisionError, match=r"upgrade the operator, or set spec\.templateRevision"
    ):
        inputs(tiers.tier(templateRevision=999).spec, None, None, tiers.CURRENT)


NO_AGENT = dataclasses.replace(tiers.CURRENT, revision=4).text().replace("4", "5")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"revision": 1, "capacity": {"label": "x"}}', NO_AGENT]
)
def test_what_is_not_ours_is_not_parsed(text: str) -> None:
    assert parse(text) is None


def test_inputs_are_read_back_as_written() -> None:
    assert parse(EKS.text()) == EKS
    assert parse(tiers.CURRENT.text()) == tiers.CURRENT


def test_another_image_of_the_agent_does_not_reach_a_live_tier() -> None:
    live = tiers.deployment(model_revision=SAME, remembered={TEMPLATE_INPUTS: tiers.CURRENT.text()})
    newer = dataclasses.replace(tiers.CURRENT, agent_image="gameai-workloads:0.2.0")
    assert inputs(TIER.spec, NEWEST, live, newer) == tiers.CURRENT
    assert inputs(TIER.spec, NEWEST, None, newer) == newer


def test_only_model_and_image_make_another_model_revision() -> None:
    other_model = {"source": {"huggingFace": {"repository": "a/b"}}}
    assert model_revision(tiers.tier(replicas=9).spec) == SAME
    assert model_revision(tiers.tier(model=other_model).spec) != SAME
    assert model_revision(tiers.tier(engine={"vllm": {"image": "x:1"}}).spec) != SAME
