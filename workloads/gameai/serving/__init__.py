"""Starts any gRPC service of a world in one call: health, reflection, metrics, error mapping, drain."""

from gameai.serving.live import LiveWorld
from gameai.serving.main import GameService, main
from gameai.serving.wire import timestamp

__all__ = ["GameService", "LiveWorld", "main", "timestamp"]
