"""PURE: the number of questions in a frame, from its bytes.

A frame that is read takes up to 64 times its bytes, where its questions are empty. So they are counted before it is.
"""

_QUESTIONS, _CANCELLED = 1, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# A frame has three other fields, and a newer client's may have more.
_OTHER_FIELDS = 16
_MORE, _MOST_SHIFT = 0x80, 63


def crowded(data: bytes, most: int) -> bool:
    """Whether a StreamAnswersRequest has more than so many questions, or cancels more. Raises `ValueError` for none."""
    at, fields, questions, cancelled = 0, 0, 0, 0
    while at < len(data) and questions <= most and cancelled <= most:
        fields += 1
        if fields > 2 * most + _OTHER_FIELDS:
            # Whatever it is: to look at all of it would take a quarter of a second for each MiB.
            return True
        tag, at = _varint(data, at)
        field, form = tag >> 3, tag & 7
        size = 0
        if form == _VARINT:
            _, at = _varint(data, at)
            cancelled += field == _CANCELLED
        elif form == _BYTES:
            size, at = _varint(data, at)
            questions += field == _QUESTIONS
            # Packed numbers, of ten bytes at most.
            cancelled += size // 10 if field == _CANCELLED else 0
        elif form in (_FIXED64, _FIXED32):
            size = 8 if form == _FIXED64 else 4
        else:
            raise ValueError("no message")
        at += size
    if at > len(data):
        raise ValueError("no whole message")
    return questions > most or cancelled > most


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > _MOST_SHIFT:
            raise ValueError("no number")
        byte = data[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7
