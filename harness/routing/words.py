"""Phrases of whole words, found in a text in one pass: `lint` finds "linting", never "splinter".

A text is read once into words; phrases are looked up by their first word in a dictionary. Nothing is compiled, so a
cold start pays a millisecond, and a title costs microseconds whatever the number of phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

GAP = "..."
MAX_GAP = 3
"""Words that `...` may stand for."""

_CHUNK = re.compile(r"`[^`\n]*`|[^\s,;()\[\]{}<>\"“”‘’«»]+")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_LETTERS = re.compile(r"[^\W_]+")
_NAME = re.compile(r"^[-./~@$]|[_\\=`@$]|::|/.*/|\.\w{1,10}$|\d\.\d")
"""Marks of a chunk that names something: a path, an option, an identifier, a file, a version."""
_FILLERS = frozenset(
    "please just quickly simply kindly can could would you we i should must need needs to let's lets want todo wip nit "
    "a an the some all".split()
)
_VOWELS = "aeiou"


class Word(NamedTuple):
    """One word of a text, in lower case; a name stays whole and knows its parts."""

    text: str
    parts: tuple[str, ...] = ()
    """Of a name: `auth_token` → auth, token. Empty for a plain word."""
    joined: bool = False
    """Joined to another by a hyphen: `rename-prefix` is no order to rename, but `race-condition` is a phrase."""


class Reading(NamedTuple):
    """A text as words, and where its sense may begin."""

    words: tuple[Word, ...]
    starts: frozenset[int] = frozenset((0,))

    @classmethod
    def of(cls, text: str) -> Reading:
        """`docs: please fix the typo` begins at `docs`, and again at `fix`."""
        words: list[Word] = []
        starts = [0]
        for chunk in _CHUNK.finditer(text):
            raw = chunk[0]
            if raw.endswith(":") and len(words) <= 3:
                words.extend(_words(raw))
                starts.append(len(words))
                continue
            words.extend(_words(raw))
            if text[chunk.end() : chunk.end() + 1] == "]" and len(words) <= 3:
                starts.append(len(words))
        return cls(tuple(words), frozenset(_past_fillers(words, start) for start in starts))


class Phrase(NamedTuple):
    """Words in a row; each of them one of several forms, None a gap."""

    steps: tuple[frozenset[str] | None, ...]

    @classmethod
    def of(cls, text: str) -> Phrase:
        """`fix|correct ... typo`; raises ValueError for a phrase that says nothing."""
        steps = tuple(None if step == GAP else _any_form(step) for step in text.lower().split())
        if not steps or steps[0] is None or steps[-1] is None:
            raise ValueError(f"'{text}' has to begin and end with a word")
        return cls(steps)

    def fits(self, words: Sequence[Word], at: int, names: bool) -> int | None:
        """Where the phrase ends when it begins at `at`; None when it does not fit there."""
        if len(self.steps) == 1 and words[at].joined and not names:
            return None
        return _fits(self.steps, 0, words, at, names)


class Index:
    """Phrases of many owners, by their first word."""

    def __init__(self) -> None:
        self._by_word: dict[str, list[tuple[int, Phrase, bool]]] = {}

    def add(self, owner: int, phrases: Iterable[Phrase], names: bool = False) -> None:
        """`names`: the owner's words also count inside identifiers, paths and options."""
        for phrase in phrases:
            for form in phrase.steps[0] or ():
                self._by_word.setdefault(form, []).append((owner, phrase, names))

    def may_find(self, text: str) -> bool:
        """False where no phrase can be found: most texts are done with after this much quicker look."""
        present = set(_LETTERS.findall(text.lower()))
        return any(
            all(step is None or not present.isdisjoint(step) for step in phrase.steps)
            for word in present.intersection(self._by_word)
            for _, phrase, _ in self._by_word[word]
        )

    def find(self, reading: Reading) -> Iterator[tuple[int, int, str]]:
        """(owner, position, words found), by position."""
        for at, word in enumerate(reading.words):
            for form in (word.text, *word.parts):
                for owner, phrase, names in self._by_word.get(form, ()):
                    if form is not word.text and not names:
                        continue
                    end = phrase.fits(reading.words, at, names)
                    if end is not None:
                        yield owner, at, " ".join(found.text for found in reading.words[at:end])


def forms(word: str) -> frozenset[str]:
    """A word with its regular endings; `word!` is that form alone."""
    if word.endswith("!"):
        return frozenset((word[:-1],))
    if not word.isalpha() or len(word) < 3:
        return frozenset((word,))
    found = {word, word + "s"}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        found.add(word + "es")
    if word.endswith("e"):
        found |= {word + "d", word[:-1] + "ing"}
    elif word.endswith("y") and word[-2] not in _VOWELS:
        found |= {word[:-1] + "ies", word[:-1] + "ied", word + "ing"}
    else:
        found |= {word + "ed", word + "ing"}
        if word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
            found |= {word + word[-1] + "ed", word + word[-1] + "ing"}
    return frozenset(found)


@cache
def _any_form(step: str) -> frozenset[str]:
    return frozenset(form for word in step.split("|") if word for form in forms(word))


def _fits(steps: Sequence[frozenset[str] | None], step: int, words: Sequence[Word], at: int, names: bool) -> int | None:
    while step < len(steps):
        wanted = steps[step]
        if wanted is None:
            for skipped in range(MAX_GAP + 1):
                end = _fits(steps, step + 1, words, at + skipped, names)
                if end is not None:
                    return end
            return None
        if at >= len(words):
            return None
        word = words[at]
        if word.text not in wanted and not (names and not wanted.isdisjoint(word.parts)):
            return None
        step, at = step + 1, at + 1
    return at


def _words(chunk: str) -> Iterator[Word]:
    if chunk.isalpha():
        yield Word(chunk.lower())
        return
    plain = chunk.strip(".:!?'*’")
    if not plain:
        return
    if _NAME.search(chunk.rstrip(".:!?'*")):
        if whole := plain.strip("`").lower().removesuffix("()"):
            yield Word(whole, tuple(match[0].lower() for match in _WORD.finditer(plain)))
        return
    for match in _WORD.finditer(plain):
        yield Word(match[0].lower(), joined="-" in plain)


def _past_fillers(words: Sequence[Word], at: int) -> int:
    while at < len(words) and words[at].text in _FILLERS:
        at += 1
    return at
