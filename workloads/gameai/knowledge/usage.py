"""PURE: a mistake in a command line."""


class UsageError(Exception):
    """A flag is wrong; the message names it and what it takes."""
