"""Which keys a game's text promises, and which words say so. Pure.

What is found here is tried first, and a key that is promised and does nothing is told as a fault. So a key counts only
where the text can mean nothing else: "press any key" promises none, and the "a" of "press a button" is no key.
"""

# ruff: noqa: RUF001  (dashes, quotes and letters of other alphabets are what texts of games have)
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from agent_worker.games.controls.promised_words import (
    ACTIONS,
    ARROW_KEYS,
    ARROWS,
    BARE,
    LETTERS,
    NAMED,
    NO_KEYBOARD,
    When,
)

__all__ = ["Promise", "When", "promised"]

MAX_TEXT: Final = 6000
"""Characters that are read of a text: more is no instruction."""
_MAX_QUOTE: Final = 80

Kind = Literal["sure", "each", "arrows", "glyph", "marked", "word", "bare", "letter", "digit"]
"""How surely some characters mean a key: `each` is "left and right arrow keys"; `marked` stands in brackets, quotes or
`<kbd>`; `bare` is left, right, up or down; `glyph` is an arrow."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One key that a text promises.

    Attributes:
        key: The control's name: `ArrowLeft`, `Space`, `P`, `1`.
        quote: The words that promise it, at most 80 characters.
        when: In which situation it has to hold; see `When`.
        group: The keys that were promised together by one name ("arrow keys"), this one included; empty where the text
            names the key itself. Such a name promises that some of them do something, not that each does.
    """

    key: str
    quote: str
    when: When = ""
    group: tuple[str, ...] = ()


class _Token(NamedTuple):
    """Some characters that name keys."""

    kind: Kind
    keys: tuple[str, ...]
    end: int


def promised(text: str) -> tuple[Promise, ...]:
    """The keys that `text` promises, in its order, each once. Lines are apart; `<kbd>` elements may stand in it."""
    found: dict[str, Promise] = {}
    for segment in _segments(text[:MAX_TEXT]):
        for promise in _in_segment(segment):
            known = found.get(promise.key)
            if known is None or (known.group and not promise.group) or (not known.when and promise.when):
                found[promise.key] = promise
    return tuple(found.values())


def _segments(text: str) -> Iterator[str]:
    for part in re.split(r"[\n\r·•|;¦]|(?<=[.!?])\s", text):
        segment = part.strip()
        if segment and not NO_KEYBOARD.search(segment):
            yield segment


# -- tokens -------------------------------------------------------------------------------------------------------

_FOUR: Final = "|".join(r"[ ,/+-]{0,2}".join(each) for each in LETTERS)
_ALPHABETS: Final = re.compile(rf"(?<![^\W\u3040-\u9fff])(?:{_FOUR})(?![^\W\u3040-\u9fff])", re.I)
_ARROW_KEYS: Final = re.compile(ARROW_KEYS, re.I)
_NAMES: Final = tuple(
    (key, re.compile(rf"(?:{words})", re.I), re.compile(sure, re.I) if sure else None)
    for key, (words, sure) in NAMED.items()
)
_GLYPHS: Final = {"←": "Left", "⬅": "Left", "→": "Right", "➡": "Right", "↑": "Up", "⬆": "Up", "↓": "Down", "⬇": "Down"}
_GLYPHS_TWO: Final = {"↔": ("ArrowLeft", "ArrowRight"), "↕": ("ArrowUp", "ArrowDown")}
_BARE: Final = re.compile(rf"(?:{'|'.join(BARE)})(?!\w)", re.I)
_LISTED: Final = re.compile(
    rf"(?:{'|'.join(BARE)})(?:(?:\s*[,/&]\s*|\s+(?:and|or)\s+)+(?:{'|'.join(BARE)}))*[ -]arrows?(?: keys?)?(?!\w)", re.I
)
_MARKED: Final = re.compile(
    r"""<kbd(?:\s[^>]*)?>\s*([^<]{1,16}?)\s*</kbd>|["'“‘«\[(<]\s?([^\s"'“”‘’«»\[\]()<>]{1,12})\s?["'”’»\])>]"""
)
_ELEMENT: Final = re.compile(r"</?kbd(?:\s[^>]*)?>")
_F_KEY: Final = re.compile(r"F(?:1[0-2]|[1-9])(?!\w)")
_LETTER: Final = re.compile(r"([A-Z])(?![\w'’.]*\w)")
_DIGIT: Final = re.compile(r"(\d)(?![\w.,%]*\w)(?!\s*[-–]\s*\d)")
_KEY_WORD: Final = re.compile(
    r"[ -]?(?:keys?|bar|button(?=\s+to\b)|tasten?|teclas?|touches?|tasti|tasto|клавиш\w*|キー|键)(?!\w)", re.I
)


def _token(text: str, at: int) -> _Token | None:
    """The key that is named at `at`."""
    if at > 0 and _goes_before(text[at - 1]) and text[at].isascii() and text[at].isalnum():
        return None
    if match := _MARKED.match(text, at):
        inner = _whole(match[1] or match[2])
        return _Token("marked", inner, match.end()) if inner else None
    if match := _ARROW_KEYS.match(text, at):
        return _Token("arrows", ARROWS, match.end())
    if match := _ALPHABETS.match(text, at):
        return _Token("sure", tuple(each.upper() for each in match[0] if each.isalpha()), match.end())
    if match := _LISTED.match(text, at):
        named = [BARE[each.lower()] for each in re.findall("|".join(BARE), match[0], re.I)]
        return _Token("each", tuple(dict.fromkeys(named)), match.end())
    if text[at] in _GLYPHS_TWO:
        return _Token("glyph", _GLYPHS_TWO[text[at]], at + 1)
    if text[at] in _GLYPHS:
        end = at + 2 if text[at + 1 : at + 2] == "\ufe0f" else at + 1
        return _Token("glyph", (f"Arrow{_GLYPHS[text[at]]}",), end)
    return _word(text, at)


def _word(text: str, at: int) -> _Token | None:
    for key, words, sure in _NAMES:
        if (match := words.match(text, at)) and not _goes_on(text, match.end()):
            return _Token("sure" if sure and sure.match(text, at) else "word", (key,), match.end())
    if match := _BARE.match(text, at):
        return _Token("bare", (BARE[match[0].lower()],), match.end())
    if match := _F_KEY.match(text, at):
        return _Token("word", (match[0],), match.end())
    if match := _LETTER.match(text, at):
        return _Token("letter", (match[1],), match.end())
    if match := _DIGIT.match(text, at):
        return _Token("digit", (match[1],), match.end())
    return None


def _goes_before(character: str) -> bool:
    """Whether a word may go on after it; Japanese and Chinese have no spaces between words."""
    return character.isalnum() and not "\u3040" <= character <= "\u9fff"


def _goes_on(text: str, end: int) -> bool:
    """Whether the word that ends there in fact goes on."""
    return text[end : end + 1].isalnum() and text[end - 1].isascii()


def _whole(inner: str) -> tuple[str, ...]:
    """The keys that `inner` names, if it names nothing else."""
    if len(inner) == 1 and inner.isascii() and inner.isalnum():
        return (inner.upper(),)
    if len(inner) < 2 and inner not in _GLYPHS:
        return ()
    token = _token(inner, 0)
    if token is None or token.kind in ("marked", "letter", "digit"):
        return ()
    end = token.end
    if match := _KEY_WORD.match(inner, end):
        end = match.end()
    return token.keys if end == len(inner) else ()


# -- lists of keys ------------------------------------------------------------------------------------------------

_JOIN: Final = re.compile(
    r"\s*(?:,\s*(?:and|or|und|oder|et|ou|y|o|e|и|или)?\s|[,/&+]|(?:and/or|and|or|und|oder|et|ou|y|o|e|и|или)(?=[\s<\[(]))\s*|\s+",
    re.I,
)
_BESIDE: Final = re.compile(r"(?=<kbd)")
"""Nothing, between two keys that a page marks."""
_MODIFIERS: Final = frozenset({"Shift", "Control", "Alt"})


class _Keys(NamedTuple):
    """Keys that are named one after another."""

    tokens: tuple[_Token, ...]
    end: int


def _keys(text: str, at: int) -> _Keys | None:
    """The keys that are listed from `at` on; None: there is none. Without tokens: they are to be pressed together."""
    tokens: list[_Token] = []
    end, together = at, False
    while at < len(text) and (token := _token(text, at)):
        tokens.append(token)
        end = token.end
        if match := _KEY_WORD.match(text, end):
            end = match.end()
        join = _JOIN.match(text, end) or _BESIDE.match(text, end)
        if join is None:
            break
        follows = _may_follow(token, text, join.end())
        beside = token.kind == "marked" and not join[0].strip() and follows
        together |= ("+" in join[0] or beside) and any(key in _MODIFIERS for key in token.keys)
        if not join[0].strip() and not follows:
            break
        at = join.end()
    return _Keys(() if together else tuple(tokens), end) if tokens else None


def _may_follow(token: _Token, text: str, at: int) -> bool:
    """Whether the next key, with nothing but a space before it, belongs to the same list."""
    following = _token(text, at) if at < len(text) else None
    return following is not None and following.kind == token.kind and token.kind in ("glyph", "marked", "letter")


# -- what makes a name of a key a promise -------------------------------------------------------------------------

_VERB: Final = re.compile(
    r"(?<!\w)(?:(?:press(?:ing)?|hit|tap|push|strike|type|use|using|hold(?:ing)?(?: down)?|keep pressing)"
    r"|(?:drück(?:e|en|t)?|halte[nt]?|benutze?n?|nutze|verwende)|(?:appuye[rz]|appuie|utilise[rz]?|maintene[rz])"
    r"|(?:pulsa|presiona|pulse|presione|usa|utiliza|mantén)|(?:premi|premere|premete|usare)|(?:pressione|aperte)"
    r"|(?:нажми(?:те)?|нажать|используй(?:те)?|жми(?:те)?)|按下?|with|mit|avec|con|com|per)"
    r"(?:\s+(?:the|die|der|den|das|la|le|les|el|los|las|il|lo|gli|as|sur|auf|su|en|em|your|either|both|key|keys|tecla|"
    r"teclas|touche|touches|taste|tasten|tasto|tasti|клавишу|клавиши|кнопку|либо))*(?=[\s<\[(\"'“‘«:]|(?<=按)|(?<=下))[\s:]*",
    re.I,
)
_NOT: Final = re.compile(r"\b(?:don['’]?t|do not|never|without|nicht|ne|no)\s+(?:\w+\s+)?$", re.I)
_MEANS: Final = re.compile(r"(?:\s*(?:[-–—:=]+>?|⇒)\s*|\t\s*|\s{2,})(?=[^\W\d_])")
_TO: Final = re.compile(r"\s+(?:to|for|zum|zur|für|um zu|pour|para|per|чтобы|для)\s+(?=\w)|\s*を押|\s*で", re.I)
_ENDS: Final = re.compile(
    r"\s*(?:$|[.!?,;:)\]/=–—-]|(?:to|for|zum|zur|für|pour|para|per|чтобы|для|and|or)\b(?!\s+\d))", re.I
)
_ACTION: Final = tuple(
    (when, re.compile(rf"(?<!\w)(?:{words})(?:e?s)?(?!\w)", re.I)) for when, words in ACTIONS.items()
)
_DOES: Final = re.compile(rf"\s(?:{ACTIONS['playing']})e?s(?!\w)(?! out)")
"""What a key does, as a sentence has it behind its subject: "Space jumps"; not a title, "Space Drops"."""
_SETS: Final = frozenset({frozenset(ARROWS), *map(frozenset, LETTERS)})
"""Keys that stand together as one drawing, of which a game may mean some."""
_NEXT_CLAUSE: Final = re.compile(r"[,;.]|\s[-–—|/]\s")
_CLAUSE: Final = re.compile(r"(?:^|[,;:/.]|\band)\s*$", re.I)
_FIRST_LETTER: Final = re.compile(r"(?<!\w)[\[(]([A-Z])[\])]([a-z]{2,14})\b")


def _in_segment(text: str) -> Iterator[Promise]:
    yield from _first_letters(text)
    at = 0
    while at < len(text):
        verb = _VERB.match(text, at)
        start = verb.end() if verb else at
        keys = _keys(text, start) if start < len(text) and (verb or _may_begin(text, at)) else None
        if keys is None:
            at += 1
            continue
        denied = verb is not None and _NOT.search(text[:at])
        if keys.tokens and not denied and _counts(text, at, keys, verb is not None):
            yield from _promises(text, at, keys)
        at = keys.end


def _may_begin(text: str, at: int) -> bool:
    return at == 0 or not (_goes_before(text[at - 1]) or text[at - 1] in "'’-_./@#")


def _counts(text: str, at: int, keys: _Keys, verb: bool) -> bool:
    """Whether these keys, at `at` behind a verb or not, are promised."""
    kinds = {token.kind for token in keys.tokens}
    if kinds & {"arrows", "each"} or any(token.kind == "sure" and len(token.keys) > 1 for token in keys.tokens):
        return True
    if _ELEMENT.search(text, at, keys.end):
        return True
    if verb:
        return _behind_verb(text, keys, kinds)
    if kinds & {"letter", "digit"} and not _LIST_BEGINS.search(text[:at]):
        return False
    first = keys.tokens[0].keys
    if (means := _MEANS.match(text, keys.end)) and kinds != {"bare"}:
        return _acts(text, means.end())
    if aim := means or _TO.match(text, keys.end):
        if first != ("Enter",):
            return _acts(text, aim.end())
        # "Enter to start", but not "return to start"
        return text[at : at + 5].lower() == "enter" and _when_of(text[aim.end() :]) in ("title", "over", "playing")
    alone = kinds <= {"glyph", "marked", "sure"} or (kinds == {"letter"} and at == 0 and not {*first} & {"A", "I"})
    if kinds <= {"sure", "word"} and _CLAUSE.search(text[:at]) and _DOES.match(text, keys.end):
        return True
    return (alone and _does(text, keys.end) is not None) or _named_behind(text, at, keys, kinds)


_LIST_BEGINS: Final = re.compile(r"(?:^|[,/(:&=–-]|\b(?:and|or|und|oder|et|ou|y|o)|\s{2})\s*$", re.I)


def _behind_verb(text: str, keys: _Keys, kinds: set[Kind]) -> bool:
    if kinds == {"letter"} and keys.tokens[0].keys in (("A",), ("I",)) and len(keys.tokens) == 1:
        article = re.match(r"\s+\w", text[keys.tokens[0].end :])
        if article and not _ENDS.match(text, keys.tokens[0].end):  # "PRESS A KEY"
            return re.search(r"\bthe\s*$", text[: keys.tokens[0].end - 1], re.I) is not None
    doubtful = kinds & {"letter", "digit", "bare"}
    return not doubtful or _ENDS.match(text, keys.end) is not None


def _does(text: str, at: int) -> re.Match[str] | None:
    """What stands right behind a key, as in "Z Rotate"; not "← Back", which is a link."""
    found = re.match(r"\s(?=\w)", text[at:])
    sure = found is not None and any(
        pattern.match(text[at + 1 : at + 25]) for when, pattern in _ACTION if when in ("playing", "title", "over")
    )
    return found if sure else None


def _acts(text: str, at: int) -> bool:
    """Whether what a key does is named at `at`."""
    return any(pattern.match(text[at : at + 24]) for _, pattern in _ACTION)


def _named_behind(text: str, at: int, keys: _Keys, kinds: set[Kind]) -> bool:
    """Whether the keys end a line that begins with what they do: "Pause: P"."""
    before = re.search(r"([^\W\d_][\w ]{1,24}?)\s*[-–—:=]\s*$", text[:at])
    return (
        before is not None
        and "digit" not in kinds
        and re.fullmatch(r"\s*[.!)]?\s*", text[keys.end :]) is not None
        and any(pattern.match(before[1]) for _, pattern in _ACTION)
    )


def _first_letters(text: str) -> Iterator[Promise]:
    """ "(R)estart" promises R."""
    for match in _FIRST_LETTER.finditer(text):
        word = match[1] + match[2]
        if any(pattern.fullmatch(word) for _, pattern in _ACTION):
            yield Promise(match[1], _quote(text, match.start()), _when_of(word))


def _promises(text: str, at: int, keys: _Keys) -> Iterator[Promise]:
    rest = text[keys.end :]
    aim = _MEANS.match(rest) or _TO.match(rest) or _does(text, keys.end)
    before = re.search(r"([^\W\d_][\w ]{1,24}?)\s*(?:[-–—:=]|with|using|mit|con|avec)?\s*$", text[:at], re.I)
    when: When
    if _DOES.match(rest):
        when = "playing"
    elif aim:
        when = _when_of(rest[aim.end() :]) or "sometimes"
    else:
        when = _when_of(before[1]) if before else ""
    if _ELEMENT.search(text, at, keys.end):  # a page that marks keys may say in another element what they do
        when = when or next((each for each, pattern in _ACTION if pattern.match(rest.lstrip())), "sometimes")
    quote = _quote(text, at)
    caps = tuple(key for token in keys.tokens if token.kind == "marked" for key in token.keys)
    for token in keys.tokens:
        group = token.keys if token.kind == "arrows" or (token.kind == "sure" and len(token.keys) > 1) else ()
        if token.kind == "marked" and frozenset(caps) in _SETS:
            group = caps
        for key in token.keys:
            yield Promise(key, quote, when, group)


def _when_of(words: str) -> When:
    """Where the key has to do what is said: the first word tells. A start that is said to be another one ("start a new
    game") is after the end of a round."""
    clause = _NEXT_CLAUSE.split(words[:48])[0]
    found = [(match.start(), when) for when, pattern in _ACTION if (match := pattern.search(clause))]
    first = min(found)[1] if found else ""
    return "over" if first == "title" and any(when == "over" for _, when in found) else first


def _quote(text: str, start: int) -> str:
    plain = _ELEMENT.sub("", text)
    if len(plain) <= _MAX_QUOTE:
        return plain
    at = len(_ELEMENT.sub("", text[:start]))
    first = max(0, min(at - 20, len(plain) - _MAX_QUOTE))
    return plain[first : first + _MAX_QUOTE].strip()
