"""What `gameai.client` exports is API: a change here is a change for its users."""

from gameai import client


def test_the_exported_names_of_the_client() -> None:
    assert sorted(client.__all__) == [
        "AccessError",
        "AskError",
        "Bus",
        "ConflictError",
        "Gateway",
        "Inbox",
        "Job",
        "JobStatus",
        "Jobs",
        "Memory",
        "NoAnswerError",
        "QuestionError",
        "Reply",
        "Source",
    ]
