"""What an API server says of a request that failed."""

import pytest
from gameai_operator.cluster.answers import api_error, retry_after_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0.0), ("7", 7.0), ("soon", 0.0), ("9999", 300.0)]
)
def test_a_retry_after_header_is_bounded(text: str, seconds: float) -> None:
    assert retry_after_seconds(text) == seconds


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        (b'{"reason": "Conflict", "message": "changed"}', "Conflict", "changed"),
        (b"{}", "", ""),
        (b"bad gateway", "", "bad gateway"),
        (b"[1]", "", "[1]"),
    ],
)
def test_an_error_has_the_servers_words(answer: bytes, reason: str, message: str) -> None:
    found = api_error(409, answer, 2.0)
    assert (found.status, found.reason, found.message) == (409, reason, message)
    assert found.retry_after_seconds == 2.0
