"""PURE: what a replica knows of the worlds of its consumer: whether dead letters of them wait, so that later batches must too."""

_MOST_WORLDS = 20_000


class Parking:
    """Knows that a world is open while every delivery of the consumer came to this replica: no other can have parked it since.

    Deliveries are numbered from 1 by the broker, over all replicas.
    """

    def __init__(self) -> None:
        self._last = 0
        self._open: set[str] = set()
        self._parked: set[str] = set()

    def delivered(self, number: int) -> None:
        """The delivery of this number came; 0: the broker does not number them."""
        if not number or number != self._last + 1 or len(self._open) >= _MOST_WORLDS:
            self._open.clear()
        self._last = number

    def is_open(self, letters: str) -> bool:
        """Whether the world with this subject of dead letters is known to be open."""
        return letters in self._open

    def opened(self, letters: str) -> None:
        """It has no dead letters."""
        self._open.add(letters)
        self._parked.discard(letters)

    def parked(self, letters: str) -> bool:
        """It has some. Whether that is new."""
        self._open.discard(letters)
        if letters in self._parked:
            return False
        if len(self._parked) >= _MOST_WORLDS:
            self._parked.clear()
        self._parked.add(letters)
        return True
