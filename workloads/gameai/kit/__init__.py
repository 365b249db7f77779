"""What services with state in PostgreSQL have in common: requests once, events with their transaction, events of others once."""

from gameai.kit.call import Call, Occurred
from gameai.kit.database import Database
from gameai.kit.kit import Kit
from gameai.kit.methods import handlers, mutation, on, query
from gameai.kit.opening import kit_of
from gameai.kit.worlds import KitWorld, OneWorld, Worlds

__all__ = [
    "Call",
    "Database",
    "Kit",
    "KitWorld",
    "Occurred",
    "OneWorld",
    "Worlds",
    "handlers",
    "kit_of",
    "mutation",
    "on",
    "query",
]
