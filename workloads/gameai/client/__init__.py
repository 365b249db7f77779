"""The Python client of the gateway: ask, and get an answer in time."""

from gameai.client.gateway import Gateway
from gameai.client.reply import AskError, Reply, Source

__all__ = ["AskError", "Gateway", "Reply", "Source"]
