"""PURE: batches that a consumer could not handle, as they are kept."""

import datetime
from dataclasses import dataclass

from gameai.bus.log import Outgoing, Stored

# Headers of a dead letter.
REASON, TRIES, SEQUENCE, SUBJECT = (
    "Gameai-Reason",
    "Gameai-Tries",
    "Gameai-Sequence",
    "Gameai-Subject",
)
MOST_REASON = 500


@dataclass(frozen=True, slots=True)
class Dead:
    """A batch that is not handled: why, and how often it was tried."""

    reason: str
    tries: int

    def letter(self, subject: str, message: Stored) -> Outgoing:
        """The batch of a message, to be stored under the subject of dead letters."""
        headers = {
            REASON: self.reason.encode("ascii", "backslashreplace").decode().replace("\n", " "),
            TRIES: str(self.tries),
            SEQUENCE: str(message.sequence),
            SUBJECT: message.subject,
        }
        return Outgoing(subject=subject, payload=message.payload, headers=headers)


def reason(letter: Stored) -> str:
    """Why it was not handled. A foreign program wrote that: nothing is left of it that a terminal would act on."""
    text = letter.headers.get(REASON, "")
    return "".join(each if each.isprintable() else " " for each in text)


def since(letter: Stored) -> str:
    """When it was stored, in UTC: 2026-11-30T10:00:00Z."""
    at = datetime.datetime.fromtimestamp(letter.at_us // 1_000_000, tz=datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def is_letter_of(letter: Stored, message: Stored) -> bool:
    """Whether a message was stored as this dead letter. Sequences begin again in a stream that was made again."""
    same = letter.headers.get(SEQUENCE) == str(message.sequence)
    return same and letter.payload == message.payload
