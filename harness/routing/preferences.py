"""Routes by description: which of them a text belongs to, or none.

    rules and scenarios (elsewhere) → embedded classifier, which may abstain → router model, if one is configured

Local, deterministic, without network or key. Where onnxruntime cannot be imported, keywords serve and every match says
so. With a router model, that is asked first (`ask="first"`) or about what the classifier abstains from (`"unsure"`);
when it is down or slow the classifier decides, and the match says so.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Literal, Protocol

import anyio.to_thread

from harness.config.settings import RoutePreference
from harness.errors import HarnessError
from harness.routing.keywords import Keywords
from harness.routing.turns import Spoken, query
from harness.types import Value

THRESHOLD = 0.45
KEPT_ROUTERS = 64
"""Sets of routes whose classifier is kept: requests may bring their own."""
SHOWN = 5
READ = 2_000
"""Characters at the beginning and at the end of a text that are classified: what people want stands before or after
what they paste, and a text of 10 MB would take a minute."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """A text against every route, in the routes' order."""

    fit: Sequence[float]
    """How near, 0 to 1; the threshold is a bound on the best one's."""
    share: Sequence[float]
    """Calibrated probability of each, given that one of them fits; adds up to 1."""


class Classifier(Protocol):
    name: str
    note: str
    """What limits it, for `why`; empty when nothing does."""

    def scores(self, text: str) -> Scores: ...


class Chooser(Protocol):
    """A router model (`router_model.RouterModel`)."""

    model: str

    async def choose(self, routes: Sequence[RoutePreference], turns: Sequence[Spoken]) -> str | None: ...


class Match(Value):
    """The route a text belongs to, or None, and why."""

    route: str | None
    confidence: float
    """Probability that `route` is the right one; of None, that no other is: 1 minus the best one's fit."""
    scores: tuple[tuple[str, float], ...] = ()
    """The nearest routes and their fit, best first."""
    why: str
    by: str
    """`embedded`, `keywords` or the router model's name."""
    warnings: tuple[str, ...] = ()


class PreferenceRouter:
    """A classifier over one set of routes; `threshold` (0 to 1) is the fit below which it says None."""

    def __init__(
        self,
        routes: Sequence[RoutePreference],
        threshold: float = THRESHOLD,
        *,
        model: Chooser | None = None,
        ask: Literal["first", "unsure"] = "first",
        classifier: Callable[[Sequence[RoutePreference]], Classifier] | None = None,
    ) -> None:
        self.routes, self.threshold = tuple(routes), threshold
        self._model, self._ask = model, ask
        self._classifier = (classifier or best_classifier)(self.routes) if self.routes else None

    def classify(self, text: str) -> Match:
        """The classifier's own verdict on a text; blocks for a few milliseconds, asks no router model."""
        if self._classifier is None or not text.strip():
            why = "no routes are described" if self._classifier is None else "there is no text to go by"
            return Match(route=None, confidence=1.0, why=why, by="nothing")
        scores = self._classifier.scores(_ends(text))
        best = max(range(len(self.routes)), key=lambda index: (scores.share[index], -index))
        nearest = sorted(range(len(self.routes)), key=lambda index: -scores.fit[index])[:SHOWN]
        name, fit = self.routes[best].name, scores.fit[best]
        limits = (self._classifier.note,) if self._classifier.note else ()
        told = tuple((self.routes[index].name, round(scores.fit[index], 4)) for index in nearest)
        if fit < self.threshold:
            why = f"nothing fits: the nearest route is {name} with {fit:.2f}, below {self.threshold:.2f}"
            return Match(
                route=None,
                confidence=round(1 - fit, 4),
                scores=told,
                why=why,
                by=self._classifier.name,
                warnings=limits,
            )
        second = next((f", then {row} with {value:.2f}" for row, value in told if row != name), "")
        why = f"nearest to {name} with {fit:.2f}{second} ({self._classifier.name})"
        return Match(
            route=name,
            confidence=round(scores.share[best], 4),
            scores=told,
            why=why,
            by=self._classifier.name,
            warnings=limits,
        )

    async def decide(self, turns: Sequence[Spoken]) -> Match:
        """The verdict on a conversation, a router model included if there is one. A model down raises nothing."""
        if self._model is None:
            return await self._local(turns)
        if self._ask == "unsure":
            match = await self._local(turns)
            if match.route is not None:
                return match
        return await self._asked(turns)

    async def _local(self, turns: Sequence[Spoken]) -> Match:
        return await anyio.to_thread.run_sync(self.classify, query(turns))

    async def _asked(self, turns: Sequence[Spoken]) -> Match:
        assert self._model is not None
        try:
            name = await self._model.choose(self.routes, turns)
        except HarnessError as error:
            log.warning("%s; the embedded classifier decides", error.message)
            match = await self._local(turns)
            return match.model_copy(update={"warnings": (*match.warnings, f"{error.message}; {match.by} decided")})
        told = f"router model {self._model.model} says {name or 'that no route fits'}"
        return Match(route=name, confidence=1.0, why=told, by=self._model.model)


class RouteMatcher:
    """Preference routing for many sets of routes; classifiers are made when first asked for and kept."""

    def __init__(
        self,
        threshold: float = THRESHOLD,
        *,
        model: Chooser | None = None,
        ask: Literal["first", "unsure"] = "first",
        classifier: Callable[[Sequence[RoutePreference]], Classifier] | None = None,
    ) -> None:
        self._make = partial(PreferenceRouter, threshold=threshold, model=model, ask=ask, classifier=classifier)
        self._routers: OrderedDict[tuple[RoutePreference, ...], PreferenceRouter] = OrderedDict()

    async def match(
        self, routes: Sequence[RoutePreference], turns: Sequence[Spoken]
    ) -> tuple[str | None, str, tuple[str, ...]]:
        """The route's name or None, why, and warnings."""
        match = await (await self.router(routes)).decide(turns)
        return match.route, match.why, match.warnings

    async def router(self, routes: Sequence[RoutePreference]) -> PreferenceRouter:
        """The router of a set of routes."""
        key = tuple(routes)
        if key not in self._routers:
            self._routers[key] = await anyio.to_thread.run_sync(self._make, key)
            while len(self._routers) > KEPT_ROUTERS:
                self._routers.popitem(last=False)
        self._routers.move_to_end(key)
        return self._routers[key]


def _ends(text: str) -> str:
    return text if len(text) <= 2 * READ else f"{text[:READ]} {text[-READ:]}"


def best_classifier(routes: Sequence[RoutePreference]) -> Classifier:
    """The embedded classifier, or keywords where its libraries cannot be imported."""
    try:
        semantic = import_module("harness.routing.semantic")
    except ImportError as error:
        return KeywordClassifier(routes, f"keywords only: {error.name or 'onnxruntime'} is not installed")
    made: Classifier = semantic.SemanticClassifier(routes)
    return made


class KeywordClassifier:
    """Keywords alone: for where nothing better can be installed."""

    name = "keywords"

    def __init__(self, routes: Sequence[RoutePreference], note: str = "") -> None:
        self.note = note
        self._keywords = Keywords(routes)

    def scores(self, text: str) -> Scores:
        fit = self._keywords.scores(text)
        total = sum(value**2 for value in fit)
        return Scores(fit, [value**2 / total for value in fit] if total else [1 / len(fit)] * len(fit))
