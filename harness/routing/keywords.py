"""Words in common between a text and routes, rare words counting more: no model, no dependency, 0.05 ms."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.config.settings import RoutePreference

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    "a about all also am an and any are as at be been but by can could did do does for from had has have how i if in "
    "into is it its just like may me my no not of on or our please should so some such than that the their them then "
    "there these they this to up us was we were what when where which who will with would you your etc via".split()
)
_ENDINGS = ("ations", "ation", "ings", "ing", "ions", "ion", "ers", "er", "ies", "ed", "es", "s", "e", "y")
_STEM = 3
"""Letters that remain at least."""


def stems(text: str) -> list[str]:
    """Content words, shortened so that `writing`, `writes` and `write` are one; camelCase and snake_case are split."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return [_stem(word) for word in _WORD.findall(spaced.lower()) if word not in _STOP]


def phrases(description: str) -> tuple[str, ...]:
    """A description's parts: "writing code, fixing bugs; or tests" → three; one alone stays whole."""
    parts = (part.strip() for part in re.split(r"[,;.\n]|\s(?:and/or|or)\s", description))
    kept = tuple(part.removeprefix("or ").removeprefix("and ").strip() for part in parts if len(part) > 1)
    return kept or (description,)


def readable(name: str) -> str:
    """A route's name as words: `code_generation` → `code generation`."""
    return " ".join(_WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)))


class Keywords:
    """Cosine of idf-weighted stems of a text and each route's name, description and examples, the best counting."""

    name = "keywords"

    def __init__(self, routes: Sequence[RoutePreference]) -> None:
        documents = [_documents(route) for route in routes]
        spread = Counter(stem for owned in documents for stem in set().union(*owned))
        self._idf = {stem: math.log(1 + len(routes) / count) for stem, count in spread.items()}
        self._unknown = math.log(1 + len(routes))
        self._vectors = [[self._vector(document) for document in owned] for owned in documents]

    def scores(self, text: str) -> list[float]:
        """One similarity a route, 0 to 1, in the routes' order."""
        asked = self._vector(stems(text))
        return [max((_cosine(asked, vector) for vector in owned), default=0.0) for owned in self._vectors]

    def _vector(self, words: Iterable[str]) -> dict[str, float]:
        weights = {stem: self._idf.get(stem, self._unknown) for stem in set(words)}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {stem: weight / length for stem, weight in weights.items()}


def _documents(route: RoutePreference) -> list[list[str]]:
    whole = f"{readable(route.name)} {route.description}"
    return [
        words
        for words in map(stems, (whole, readable(route.name), *phrases(route.description), *route.examples))
        if words
    ]


def _cosine(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    return sum(weight * right[stem] for stem, weight in left.items() if stem in right)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word
