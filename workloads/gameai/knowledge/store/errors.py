"""What can be wrong with the database, in words."""


class StoreError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class BusyError(Exception):
    """No connection became free in time, or a query took too long."""
