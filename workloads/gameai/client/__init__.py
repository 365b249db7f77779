"""The Python clients of the gateway (ask, and get an answer in time), of the memory, and of the event bus."""

from gameai.client.bus import Bus
from gameai.client.gateway import Gateway
from gameai.client.inbox import Inbox
from gameai.client.jobs import Job, Jobs, JobStatus
from gameai.client.memory import Memory
from gameai.client.reply import (
    AccessError,
    AskError,
    ConflictError,
    NoAnswerError,
    QuestionError,
    Reply,
    Source,
)

__all__ = [
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
