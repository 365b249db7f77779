"""The Python client of the gateway: ask, and get an answer in time."""

from gameai.client.gateway import Gateway
from gameai.client.reply import AccessError, AskError, NoAnswerError, QuestionError, Reply, Source

__all__ = [
    "AccessError",
    "AskError",
    "Gateway",
    "NoAnswerError",
    "QuestionError",
    "Reply",
    "Source",
]
