"""PURE: texts that address the model which will read them. They are held for a review, never deleted.

Hits are data, but a model may follow an order in its data; lore has no reason to give one.
"""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gameai.knowledge.ingestion.cleaning import clean, hidden

_MOST_HIDDEN = 8
_NO_TAGS = str.maketrans("<>", "  ")
_LONG_CODE = 120
_LEET = str.maketrans(
    {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}
)
# Letters of other scripts that look like Latin ones.
_CONFUSABLE = str.maketrans(
    "аеорсухіјѕԁһԛԝАВЕКМНОРСТХІЈЅαορνικτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhqwABEKMHOPCTXIJSaopvikruxABEZHIKMNOPTYX",
)
_RULES_WORDS = r"(?:instruction|prompt|rule|guideline|direction|command|context|message|guardrail|polic|restriction|training|programming|order|constraint|safet|filter|persona|text|document|content|lore)"
_BEFORE = r"(?:all|any|every|the|your|my|of|these|those|previous|prior|preceding|above|earlier|former|initial|original|existing|current|other|system|safety|following|prompt|developer|everything)"
_DROP = r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|overrul(?:e|ing)|bypass(?:ing)?|neglect(?:ing)?|skip|drop|discard|dismiss|abandon|stop following|do not follow|don'?t follow|pay no attention to|set aside|supersede|replace|cancel|erase|delete|violate|circumvent)"
_MODEL = r"(?:ai|a\.i\.|llm|language model|chat ?bot|gpt|chatgpt|ai assistant|neural network|text generator|npc model|the model|this model)"
# What follows where a text speaks of another model, of a ship or a wing: "for the model of the hull".
_OTHER_MODEL = r"(?:the|this) models?\s+(?:at|of|that was|that were|was|were|with|within|without)\b(?!\W+(?:this|these|hand|your?|ai|language|conversation)\b)(?![^.\n]{0,200}[:;!?—–])"

_PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "OverridesInstructions": (
            rf"\b{_DROP}\b(?:\W+{_BEFORE}\b){{1,6}}\W+(?:\w+\W+){{0,2}}?{_RULES_WORDS}",
            rf"\b{_DROP}\W+{_RULES_WORDS}s?\b.{{0,40}}\b(?:above|before|previous|given|so far)",
            rf"\b{_DROP}\b\W+(?:everything|all|anything|whatever)\b.{{0,30}}\b(?:above|before|previous\w*|prior|earlier|told|said|learn\w*|know|so far)",
            r"\b(?:new|updated|revised|real|actual|true|secret|hidden|important|urgent|special|additional|following) (?:system )?(?:instruction|prompt|directive)s?\b\W{0,3}(?::|follow|are|is|for you|apply|take|-)",
            r"\b(?:from now on|henceforth|starting now|going forward|as of now)\b.{0,60}\b(?:you|always|never|respond|answer|reply|act|say)\b",
            r"\byour (?:new|real|only|true|sole|actual|primary) (?:task|job|goal|role|purpose|objective|instruction|mission|directive|identity|name)\b",
            r"\b(?:end|start|begin|beginning) of (?:the )?(?:context|document|prompt|system|instruction|lore|conversation|user input)\b",
            r"\b(?:takes?|has|have) (?:precedence|priority) over\b.{0,60}\b(?:instruction|prompt|rule|guideline|polic)",
        ),
        "AssignsRole": (
            r"\byou are (?:now|no longer|not|actually|hereby|DAN|an?)\b.{0,40}\b(?:ai|model|assistant|chat ?bot|DAN|bound|restricted|limited|filter\w*|unfiltered|unrestricted|uncensored|jailbroken|hacked|admin\w*|developer|system|root)\b",
            rf"\byou(?: are|'re)? (?:an? |the )?(?:\w+ ){{0,2}}{_MODEL}\b",
            rf"\b(?:act|behave|respond|answer|speak|write|roleplay|role-play|pose) (?:only )?(?:as|like) (?:if|though|an? |the )?.{{0,30}}\b(?:{_MODEL}|admin\w*|developer|root|system|hacker|without|no (?:rules|restrictions|limits|filters)|unrestricted|uncensored|DAN)\b",
            r"\bpretend (?:to be|you|that you)\b.{0,60}\b(?:ai|model|assistant|rules|restrictions|developer|admin\w*|unrestricted|no longer|not bound|free)\b",
            r"\b(?:developer|debug|god|admin|maintenance|sudo|root|jailbreak|unrestricted|dan) mode\b",
            r"\bjail ?break|\bdo anything now\b|\bno (?:restrictions|limitations|filters|guardrails|ethical)\b.{0,40}\b(?:apply|answer|respond|you)\b",
            r"\b(?:without|free of|free from) (?:any )?(?:restrictions|filters|guardrails|safety|censorship|moral\w*|ethic\w*)\b",
        ),
        "ExtractsPrompt": (
            r"\b(?:reveal|show|print|repeat|output|display|leak|expose|recite|disclose|return|send|tell|give|share|summari[sz]e|translate|dump|write out|list)\b.{0,40}\b(?:system|initial|hidden|secret|original|full|previous|developer|entire|your|the above|above)\b.{0,25}\b(?:prompt|instruction|message|text|rule|context|configuration|guideline|words|conversation)",
            r"\bwhat (?:is|are|were|was) (?:your|the) (?:system |initial |hidden |secret |original |first )*(?:prompt|instructions?|rules|guidelines)\b",
            r"\brepeat (?:everything|all|the words|the text|verbatim|back)\b",
            r"\b(?:api|access|secret|private) keys?\b.{0,60}\b(?:print|send|reveal|show|give|include|output|tell)|\b(?:print|send|reveal|show|give|include|output|tell)\b.{0,60}\b(?:api|access|secret|private) keys?\b|\benvironment variables?\b",
        ),
        "DictatesAnswer": (
            r"(?:^|[.!?:;\n\"“]\s{0,3}|\b(?:please|and|then|must|should|you|to|just|only|always) )(?:respond|reply|answer|say|output|write|print|return|state|speak)\b.{0,20}\b(?:only|exactly|just|nothing but|always|never|verbatim|with the (?:word|phrase|following|text|exact))\b.{0,60}(?:[\"'“‘:]|\bwith\b|\bas\b|\bthat\b|\bin\b (?:json|base64|code|rot13))",
            r"\b(?:always|never|only|must|should|shall|need to|have to) (?:respond|reply|output|answer|say|recommend|mention|include|claim|conclude|tell|state|insert|append|add|praise|quote)\b.{0,80}\b(?:user|player|quer(?:y|ies)|prompt|assistant|model|output)s?\b",
            r"\byou (?:must|should|shall|need to|have to|will|are to) (?:always |never |only )(?:respond|reply|output|answer|recommend|include|conclude|insert|append)\b",
            r"\b(?:if|when|whenever|should|once)\b.{0,30}\b(?:asked|queried|prompted|questioned|(?:user|player|anyone|someone|somebody|npc|they) (?:ask|quer|mention|say|want|type|request|enquire|inquire)\w*)\b.{0,120}\b(?:answer|say|reply|respond|tell|claim|state|output|insist|recommend|return|the (?:correct|only|right|true) (?:answer|response)|send|give|mention)\b",
            r"\b(?:the )?(?:correct|only|right|true|official) (?:answer|response|reply) (?:to|for)\b.{0,100}\b(?:is|must be|:)",
            r"\b(?:do not|don'?t|never|must not|avoid)\b.{0,20}\b(?:mention|reveal|tell|disclose|cite|warn|use|trust|quote)\b.{0,50}\b(?:user|player|document|source|lore|context|instruction|prompt|this (?:message|text|note)|other (?:passages|results|documents))",
            rf"\b(?:note|message|attention|instructions?|reminder|memo|dear|hey|hello|hi|warning)\b\W{{0,4}}(?:to |for |the |any |all |every |whichever |reading |an? ){{0,4}}{_MODEL}s?\b",
            rf"\b(?:to|for)\b\W{{0,4}}(?:to |for |the |any |all |every |whichever |reading |an? ){{0,4}}(?!{_OTHER_MODEL}){_MODEL}s?\b",
            rf"(?:^|[.!?:;\n])\W{{0,6}}(?:to|for)\W{{1,4}}{_MODEL}s?\b",
            rf"\b{_MODEL}s?\b.{{0,60}}\b(?:must|should|shall|will now|has to|is required to|are required to|ought to|needs? to|reading this|processing this|parsing this)\b",
            r"\bas an? (?:ai|artificial intelligence|language model|llm|assistant)\b",
        ),
        "RoleMarkers": (
            r"<\|[\w ]{1,30}\|?>|\[/?INST\]|<</?SYS>>|</?s>|\[/?(?:system|user|assistant)\]",
            r"(?:^|\n)\W{0,6}(?:system|assistant|developer|user|human|ai)(?: (?:prompt|message|note|instruction|override|update|alert|notice))?\W{0,3}:",
            r"(?:^|\n)#{1,6} ?(?:system )?(?:instruction|prompt)s?\b\W{0,3}(?::|\n|$)",
            r"</?(?:system|assistant|user|context|instructions?|prompt|tool_call|function_call|im_start|im_end|document|admin|override)\b[^>]{0,100}>",
            r"\bBEGIN (?:SYSTEM|ADMIN|PROMPT|INSTRUCTION|OVERRIDE)|\bEND (?:SYSTEM|PROMPT|CONTEXT|INSTRUCTION|USER)",
            r"\b(?:system|admin|administrator|developer) (?:override|prompt|message|notice|alert|update)\b",
        ),
        "CodeOrLinks": (
            r"<(?:script|iframe|img|svg|object|embed|link|meta|form|style)\b|\bjavascript:|\bon(?:error|load|click)\s*=",
            r"!\[[^\]]{0,200}\]\(\s*(?:https?:)?//",
            r"\b(?:curl|wget|fetch|rm -rf|eval|exec|os\.system|subprocess|import os|powershell|invoke-\w+)\b\s*[(\-h/]",
            r"\b(?:call|invoke|mak(?:e|ing) use|use(?! of\b(?:(?!tool|api|plugin|shell|command line|endpoint|\w_|your).){0,20}\bfunction)|run|execute|trigger)\b.{0,20}\b(?:tool|function|api|plugin|shell|command line|endpoint)\b",
            r"(?:;|'|\")\s*(?:drop|delete|truncate|alter|insert)\s+(?:table|from|into)\b|\bunion\s+select\b|'\s*or\s*'?1'?\s*=\s*'?1",
            r"\{\{.{1,80}\}\}|\{%.{1,80}%\}|\$\{.{1,80}\}",
        ),
        "OtherLanguages": (
            r"\bignor(?:iere|ieren|a|ar|e|ez|er|i|are|erar|eer)\b.{0,50}\b(?:anweisung|anleitung|regel|vorgabe|instruccion|instrucción|instrucao|instruç|instruction|consigne|istruzion|instructie|instruktion|indicaci|r[eè]gle|regla|ordini|ordres)",
            r"\b(?:vergiss|vergessen|olvida|oubli\w+|esque[çc]a|dimentica|vergeet|glöm)\b.{0,50}\b(?:anweisung|regel|alles|instru|todo|tout|tudo|tutto|alles|consigne|r[eè]gle)",
            r"игнорируй|забудь (?:все|предыдущ)|предыдущие (?:инструкции|указания)|системн\w+ (?:промпт|подсказк)",
            r"忽略.{0,12}(?:指示|指令|提示|规则|說明|说明)|無視.{0,12}指示|指示を.{0,6}無視|(?:以前|前|上記|これまで)の(?:指示|命令|プロンプト)|系统提示|系統提示|이전.{0,6}(?:지시|명령|지침).{0,8}무시|무시하",
            r"تجاهل.{0,20}(?:التعليمات|الأوامر)|התעלם.{0,20}ההוראות",
        ),
    }
)
_COMPILED = tuple(
    (name, re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE))
    for name, patterns in _PATTERNS.items()
)
_ENCODED = re.compile(
    rf"[A-Za-z0-9+/]{{{_LONG_CODE},}}={{0,2}}|(?:[0-9a-fA-F]{{2}}[ :]?){{60,}}|(?:\\x[0-9a-fA-F]{{2}}|\\u[0-9a-fA-F]{{4}}){{8,}}"
)
_WORD = re.compile(r"\w{4,}")
# A separator is never a letter: else the ways to read a row of underscores double with each.
_SPACED = re.compile(r"(?<!\w)(?:[^\W_][ .\-_*|]{1,2}){4,}[^\W_](?!\w)")


_JOINED = re.compile(r"[._:-]+")


def reasons_of(parts: Sequence[str]) -> tuple[str, ...]:
    """Why texts that are stored apart and read together are held; empty: they are not.

    No part can hide another one: a tag that begins in one and ends in another is no tag.
    """
    together = "\n".join(map(clean, parts)).translate(_NO_TAGS)
    return tuple(sorted({why for each in (*parts, together) for why in reasons(each)}))


def words(*identifiers: str) -> str:
    """Kinds and keys as a model reads them: their words are joined by other characters than spaces."""
    return _JOINED.sub(" ", " ".join(identifiers))


def reasons(original: str) -> tuple[str, ...]:
    """Why a text must be reviewed before it is found, as reasons; empty where it need not be."""
    text = clean(original)
    readings = _readings(text, original)
    found = [name for name, pattern in _COMPILED if any(map(pattern.search, readings))]
    if hidden(original) > _MOST_HIDDEN:
        found.append("HiddenText")
    if _ENCODED.search(original):
        found.append("EncodedText")
    if any(_mixed(word) for word in _WORD.findall(text)):
        found.append("MixedScripts")
    return tuple(found)


def _readings(text: str, original: str) -> tuple[str, ...]:
    """The text as it stands, with its HTML, and as a model may still read it: digits for letters, letters apart."""
    plain = unicodedata.normalize("NFKD", text.translate(_CONFUSABLE))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    close = _SPACED.sub(lambda match: re.sub(r"[ .\-_*|]", "", match.group()), plain)
    flat = re.sub(r"[ \t\n]+", " ", re.sub(r"[*_`~]+", "", plain))
    return (
        original,
        html.unescape(plain).replace("\u00ad", ""),
        plain,
        flat,
        flat.translate(_LEET),
        _apart(close),
        *_decoded(original),
    )


def _apart(text: str) -> str:
    """Words that stood letter by letter, with spaces between those that matter."""
    words = "ignore|disregard|forget|all|previous|prior|instructions|instruction|system|prompt|reveal|the|your|above"
    return re.sub(rf"({words})", r" \1 ", text, flags=re.IGNORECASE)


def _decoded(text: str) -> tuple[str, ...]:
    """ROT13 and reversed text, which models read."""
    turned = str.maketrans(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
    )
    return text.translate(turned), text[::-1]


def _mixed(word: str) -> bool:
    """Has it letters of Latin and of a script that looks like it?"""
    scripts = {
        unicodedata.name(each, "").split(" ", maxsplit=1)[0] for each in word if each.isalpha()
    }
    return "LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK", "CHEROKEE", "ARMENIAN"})
