"""PURE: data of persons and secrets in a text, found by patterns and check digits, and replaced.

Names are left: a model that finds them takes the heroes of a story for persons.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stdnum import iban, luhn

from gameai.knowledge.ingestion.edits import Edit, Edited

_CARD_DIGITS = range(13, 20)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    """What is replaced: `pattern`, where `holds` says yes to the text that it found."""

    name: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = bool


def edits(text: str) -> list[Edit]:
    """What to replace in a text, each with `[removed: <kind>]`; they do not overlap."""
    found: list[Edit] = []
    for rule in _RULES:
        mine = [each for each in rule.pattern.finditer(text) if rule.holds(each.group())]
        for match in mine:
            begin, end = match.span()
            found.append(Edit(begin=begin, end=end, text=f"[removed: {rule.name}]"))
        text = _blanked(text, mine)
    return found


def redact(text: str) -> str:
    """The text with all that is replaced."""
    return Edited(text, edits(text)).text


def _blanked(text: str, found: Sequence[re.Match[str]]) -> str:
    """The text with line feeds in place of what a rule has found: the next rules do not see it."""
    pieces: list[str] = []
    at = 0
    for match in found:
        begin, end = match.span()
        pieces += (text[at:begin], "\n" * (end - begin))
        at = end
    return "".join((*pieces, text[at:]))


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(text: str) -> bool:
    return len(_digits(text)) in _CARD_DIGITS and bool(luhn.is_valid(_digits(text)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    return True


def _is_mixed(text: str) -> bool:
    """Random text has digits, capitals and small letters."""
    return all(re.search(each, text) for each in ("[0-9]", "[A-Z]", "[a-z]"))


def _rule(name: str, pattern: str, holds: Callable[[str], bool] = bool, flags: int = 0) -> _Rule:
    return _Rule(name=name, pattern=re.compile(pattern, flags | re.ASCII), holds=holds)


# In this order: what a rule has replaced, the next ones do not see.
_RULES = (
    _rule(
        "private key",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,10000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
        flags=re.DOTALL,
    ),
    _rule("token", r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    _rule("key", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b"),
    _rule(
        "key",
        r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abeprs]-|npm_|pypi-|SG\.|dop_v1_)[\w.-]{16,}",
    ),
    _rule(
        "key", r"\b(?:sk|pk|rk)[-_](?:live[-_]|test[-_]|proj-|ant-)?[A-Za-z0-9_-]{16,}", _is_mixed
    ),
    _rule("key", r"\bAIza[\w-]{30,}"),
    _rule(
        "secret",
        r"(?<![A-Za-z])(?:api[ _-]?key|access[ _-]?key|secret(?:[ _-]?(?:access[ _-]?)?key)?|auth[ _-]?token|token|passw(?:or)?d|pwd|passphrase)"
        # After a colon a sentence may follow: what has a digit is none.
        r"[\"']?\s{0,3}(?:=|:(?=\s{0,3}[^\s,;]{0,200}\d))\s{0,3}[\"']?[^\s\"',;]{6,200}",
        flags=re.IGNORECASE,
    ),
    _rule(
        "URL", r"\b(?:[a-z][a-z0-9+.-]{1,20}://|www\.)[^\s<>\"')\]]{3,2000}", flags=re.IGNORECASE
    ),
    _rule("e-mail", r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    _rule(
        "IBAN",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
        lambda text: bool(iban.is_valid(text)),
    ),
    _rule("wallet", r"\b0x[a-fA-F0-9]{40}\b"),
    _rule("wallet", r"\bbc1[ac-hj-np-z02-9]{25,60}\b"),
    _rule("wallet", r"\b[13][a-km-zA-HJ-NP-Z1-9]{25,34}\b", _is_mixed),
    _rule("MAC address", r"\b[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}\b"),
    _rule("IP address", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)", _is_address),
    _rule(
        "IP address",
        r"(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])",
        _is_address,
    ),
    _rule("card", r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])", _is_card),
    _rule(
        "social security number",
        r"(?<![\w-])(?!000|666|9)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}(?![\w-])",
    ),
    _rule(
        "passport",
        r"\bpassport(?:\W{1,5}(?:no|number|nr|is))*\W{1,5}[A-Z]{0,3}\d{6,9}\b",
        flags=re.IGNORECASE,
    ),
    _rule("passport", r"\b[A-Z]{1,2}\d{7,8}\b"),
    _rule(
        "licence",
        r"\b(?:driver'?s?|driving) licen[cs]e(?:\W{1,5}(?:no|number|nr|is))*\W{1,5}[A-Z0-9-]{6,20}\b",
        flags=re.IGNORECASE,
    ),
    _rule("phone", r"(?<![\w+])\+\d{1,3}(?:[ .()/-]{0,2}\d){6,14}(?!\w)"),
    _rule("phone", r"(?<![\w.])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"),
    _rule("phone", r"(?<![\w.,])0\d{2,4}[ /-]\d{3,4}(?:[ -]?\d{2,5}){1,2}(?![\w,])"),
    _rule("date", r"(?<![\w./-])(?:19|20)\d{2}-(?:0[1-9]|1[0-2])-(?:[0-2]\d|3[01])(?![\w/-])"),
    _rule("date", r"(?<![\w./-])[0-3]?\d([./-])[0-3]?\d\1(?:19|20)\d{2}(?![\w/-])"),
    _rule(
        "date",
        rf"\b(?:[0-3]?\d(?:st|nd|rd|th)? (?:of )?(?:{_MONTHS})|(?:{_MONTHS}) [0-3]?\d(?:st|nd|rd|th)?),? (?:19|20)\d{{2}}\b",
    ),
)
