"""How our values are spelt on the wire."""

from gameai_contract.world_time import MICROSECOND
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(microseconds: int | None) -> Timestamp | None:
    """The instant of so many µs since the Unix epoch; None stays absent."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, MICROSECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
