"""Starts any gRPC service of a world in one call: health, reflection, metrics, error mapping, drain."""

from gameai.serving.live import LiveWorld
from gameai.serving.main import main
from gameai.serving.service import GameService, Runtime
from gameai.serving.wire import timestamp

__all__ = ["GameService", "LiveWorld", "Runtime", "main", "timestamp"]
