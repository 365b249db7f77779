"""What clients are told about channels, in code and in words."""

import json
import re

from gameai import channel
from gameai_devcluster.install import ROOT

DOCUMENT = (ROOT / "docs" / "clients.md").read_text()


def test_the_published_service_config_is_the_one_in_code() -> None:
    block = re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block
    assert json.loads(block[1]) == channel.SERVICE_CONFIG
    assert json.loads(str(dict(channel.OPTIONS)["grpc.service_config"])) == channel.SERVICE_CONFIG


def test_the_published_interval_between_names_is_the_one_in_code() -> None:
    name = "grpc.dns_min_time_between_resolutions_ms"
    assert dict(channel.OPTIONS)[name] == channel.NAMES_MS
    assert f"`{name}` = {channel.NAMES_MS}" in DOCUMENT
