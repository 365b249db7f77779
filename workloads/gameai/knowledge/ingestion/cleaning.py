"""PURE: text as it is stored: one form of each character, nothing invisible, no markup of HTML."""

import re
import unicodedata

# Zero-width characters, marks of direction, tags and other format characters; controls but for line feed and tab.
_INVISIBLE = ("Cf", "Cc", "Cs", "Co", "Cn")
_KEPT = ("\n", "\t")
_LAYERS = 4
_HTML = re.compile(r"<!--.*?(?:-->|\Z)|</?[A-Za-z][^<>]{0,2000}>", re.DOTALL)
# Variation selectors carry hidden bytes; Hangul fillers and the braille blank look like nothing.
_LOOK_EMPTY = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u115f\u1160\u3164\uffa0\u2800\u034f]")


def clean(text: str) -> str:
    """The text in NFKC, without invisible characters and without HTML, its lines trimmed at the end."""
    found = unicodedata.normalize("NFKC", text.replace("\r\n", "\n").replace("\r", "\n"))
    found = "".join(
        each for each in found if each in _KEPT or unicodedata.category(each) not in _INVISIBLE
    )
    found = _LOOK_EMPTY.sub("", found)
    # What is left of two tags may be a third; more than a few layers are no mistake.
    for _ in range(_LAYERS):
        found = _HTML.sub("", found)
    return "\n".join(line.rstrip() for line in found.split("\n")).strip()


def hidden(text: str) -> int:
    """How many characters a reader cannot see, without marks that ordinary writing has."""
    ordinary = {"\u200d", "\u200c", "\u00ad", "\ufeff", "\u200e", "\u200f", "\ufe0f", "\r", *_KEPT}
    return sum(
        each not in ordinary
        and (unicodedata.category(each) in _INVISIBLE or bool(_LOOK_EMPTY.match(each)))
        for each in text
    )
