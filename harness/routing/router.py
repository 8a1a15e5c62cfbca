"""THE routing logic: strategies asked in order, the first opinion decides, and the decision explains itself.

    label → complexity → pattern → files → learned → preference → your own → default

Labels are orders. What words and file counts say is a guess, and so is the default: there the past is asked too, and
where it has evidence enough it corrects the guess. The command line, the engine, the gateway, the sling and the hooks
all decide here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.config.settings import Settings
from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.routing.estimate import Estimate, Shape, Sizes, estimate
from harness.routing.rules import facts_of, load_rules
from harness.routing.strategies import (
    ComplexityStrategy,
    Exists,
    FileCountStrategy,
    LabelStrategy,
    PatternStrategy,
    in_folder,
    labelled,
)
from harness.routing.trigger import parse
from harness.types import Considered, Issue, Opinion, RouteDecision, TraceLine, Usage

if TYPE_CHECKING:
    from harness.protocols import Strategy

ORDERS = ("label", "complexity")
"""Strategies whose word is final."""
PREFERENCE = "preference"
"""What `routing > strategies` calls the described routes."""

SINGLE, PLANNED = "single", "plan-execute-review"
MANY_FILES = 4
TASKS_GUESSED = 3
"""Tasks of a complex issue or an epic that names fewer files."""
OUTCOMES = "outcomes.db"
"""File in the state folder that holds what became of past work."""
REVIEWED = parse("label:security OR label:critical OR complexity:complex OR priority<=0")
"""What of the built-in pipelines' review triggers can be told beforehand."""


class Past(Protocol):
    """What outcomes say; `start` is the guess they may correct, None the default."""

    def consider(self, issue: Issue, start: Opinion | None = None) -> Considered: ...


@dataclass(frozen=True)
class Router:
    """Decides on issues: `strategies` in order, `past` between them and `later` ones, then the default tier."""

    settings: Settings
    strategies: Sequence[Strategy]
    past: Past | None = None
    later: Sequence[Strategy] = ()
    count: Callable[[Issue], int] = field(default=lambda issue: len(issue.files))
    """Files an issue is about; 0 is not known."""
    sizes: Sizes = field(default_factory=Sizes)

    def route(self, issue: Issue) -> RouteDecision:
        """The decision, with its trace and what it will cost; the same for the same issue and data."""
        asked = _Asked(issue)
        strategy, opinion = asked.first(self.strategies)
        if self.past is not None and strategy not in ORDERS:
            said = asked.ask(self.past, opinion)
            if said is not None:
                pipeline = opinion.pipeline if opinion else None
                strategy, opinion = "learned", said.model_copy(update={"pipeline": said.pipeline or pipeline})
        if opinion is None:
            strategy, opinion = asked.first(self.later)
        if opinion is None:
            strategy, opinion = "default", self._default(asked)
        return self._decide(issue, strategy, opinion, asked)

    def route_text(self, text: str) -> RouteDecision:
        """The decision on a text alone: its first line is the title."""
        title, _, body = text.strip().partition("\n")
        return self.route(Issue(id="", title=title, body=body.strip(), source="text"))

    def _default(self, asked: _Asked) -> Opinion:
        why = "nothing else applies"
        asked.trace.append(TraceLine(rule="default", matched=True, why=why))
        return Opinion(tier=self.settings.routing.default_tier, rule="default", reason=why, confidence=0.5)

    def _decide(self, issue: Issue, strategy: str, opinion: Opinion, asked: _Asked) -> RouteDecision:
        pool = self.settings.pool(opinion.tier)
        files = self.count(issue)
        pipeline = self._pipeline(issue, opinion, files, asked)
        costs = self._costs(issue, strategy, opinion, pipeline, files)
        for model in costs.unknown:
            asked.warnings.append(
                f"the price of {model} is unknown, so the cost is; give it under prices: in harness.yaml"
            )
        return RouteDecision(
            tier=opinion.tier,
            model=pool.models[0],
            pipeline=pipeline,
            strategy=strategy,
            rule=opinion.rule,
            reason=opinion.reason,
            confidence=opinion.confidence,
            propensity=opinion.propensity,
            candidates=pool.models,
            estimated_cost=costs.cost,
            baseline_cost=costs.baseline,
            warnings=tuple(dict.fromkeys((*asked.warnings, *opinion.warnings))),
            trace=tuple(asked.trace),
        )

    def _pipeline(self, issue: Issue, opinion: Opinion, files: int, asked: _Asked) -> str:
        chosen, why = self._pipeline_and_why(issue, opinion, files, asked)
        if chosen not in (SINGLE, PLANNED):
            asked.warnings.extend(self._unknown(chosen, why))
        asked.trace.append(TraceLine(rule=f"pipeline {chosen}", matched=True, why=why))
        return chosen

    def _unknown(self, pipeline: str, why: str) -> Iterator[str]:
        """What a run will say of a pipeline that there is none of. The reader of pipelines is loaded only for this."""
        settings = self.settings
        try:
            importlib.import_module("harness.config.pipelines").find_pipeline(
                pipeline, [settings.root / settings.pipelines]
            )
        except UnknownName as error:
            yield f"{why}: {error.message}; a run will refuse it: {error.hint}"

    def _pipeline_and_why(self, issue: Issue, opinion: Opinion, files: int, asked: _Asked) -> tuple[str, str]:
        wished = [name for name in labelled(issue, "pipeline") if name]
        if wished:
            if len(set(wished)) > 1:
                asked.warnings.append(f"labels ask for the pipelines {' and '.join(wished)}; the first one counts")
            return wished[0], f"label pipeline:{wished[0]}"
        if opinion.pipeline:
            return opinion.pipeline, f"rule '{opinion.rule}' says so"
        if _is_complex(issue):
            return PLANNED, "label complexity:complex"
        if issue.type == "epic":
            return PLANNED, "an epic"
        if files >= MANY_FILES:
            return PLANNED, f"{files} files"
        if opinion.tier == next(iter(self.settings.tiers)) and files <= 1:
            return SINGLE, "the cheapest tier, and one file at most"
        return PLANNED, "a planner may still answer: one task"

    def _costs(self, issue: Issue, strategy: str, opinion: Opinion, pipeline: str, files: int) -> Estimate:
        settings, tier = self.settings, opinion.tier
        strength = list(settings.tiers).index
        reviewer = settings.reviewer if REVIEWED.holds(facts_of(issue)) else None
        if pipeline == SINGLE:
            shape = Shape(small=files <= 1, worker=settings.worker or tier, reviewer=reviewer)
        else:
            guess = TASKS_GUESSED if issue.type == "epic" or _is_complex(issue) else 1
            shape = Shape(
                tasks=max(files, guess) if files >= MANY_FILES else guess,
                worker=settings.worker or (tier if strategy == "label" else next(iter(settings.tiers))),
                planner=max(settings.planner, tier, key=strength),
                reviewer=reviewer,
            )
        return estimate(shape, settings, self.sizes)


@dataclass
class _Asked:
    """One issue's way through the strategies."""

    issue: Issue
    trace: list[TraceLine] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def first(self, strategies: Sequence[Strategy]) -> tuple[str, Opinion | None]:
        for strategy in strategies:
            opinion = self._note(strategy.consider(self.issue))
            if opinion is not None:
                return strategy.name, opinion
        return "", None

    def ask(self, past: Past, start: Opinion | None) -> Opinion | None:
        return self._note(past.consider(self.issue, start))

    def _note(self, considered: Considered) -> Opinion | None:
        self.trace.extend(considered.trace)
        self.warnings.extend(considered.warnings)
        return considered.opinion


def build_router(
    settings: Settings, tracked_files: frozenset[str] | None = None, history: Path | None = None
) -> Router:
    """The router of a repository; raises ConfigError for rules or tiers that cannot be.

    `tracked_files` are the paths in the repository (default: the file system is asked); `history` is the folder that
    holds past outcomes (default: the repository's state folder). What is not needed is not imported.
    """
    for key in ("default_tier", "baseline_tier"):
        tier = getattr(settings.routing, key)
        if tier not in settings.tiers:
            known = f"known: {', '.join(settings.tiers)}{did_you_mean(tier, settings.tiers)}"
            raise ConfigError(settings.source, ("routing", key), f"no tier '{tier}'; {known}")
    rules = load_rules(settings)
    exists: Exists = in_folder(settings.root) if tracked_files is None else tracked_files.__contains__
    files = FileCountStrategy(rules, exists)
    state = history or settings.state
    remembered = (state / OUTCOMES).exists()
    return Router(
        settings=settings,
        strategies=(
            LabelStrategy(settings.tiers),
            ComplexityStrategy(rules.complexity, settings.tiers),
            PatternStrategy(rules),
            files,
        ),
        past=_load("harness.routing.learned:LearnedStrategy", state, settings)
        if remembered and settings.routing.learned.enabled
        else None,
        later=_later(settings),
        count=files.count,
        sizes=_observed(state) if remembered else Sizes(),
    )


def _later(settings: Settings) -> tuple[Strategy, ...]:
    """Described routes, by themselves first, or where `strategies` names them; then the user's own."""
    wanted, described = settings.routing.strategies, settings.routing.preferences
    first = (_described(settings),) if described and PREFERENCE not in wanted else ()
    return first + tuple(
        _described(settings) if target == PREFERENCE else _own(target, number, settings)
        for number, target in enumerate(wanted)
    )


def _described(settings: Settings) -> Strategy:
    made: Strategy = _load("harness.routing.described:PreferenceStrategy", settings)
    return made


def _own(target: str, number: int, settings: Settings) -> Strategy:
    path = ("routing", "strategies", number)
    if ":" not in target:
        raise ConfigError(settings.source, path, f"'{target}' is no strategy; write preference or package.module:Name")
    try:
        made: Strategy = _load(target, settings)
    except ModuleNotFoundError as error:
        raise ConfigError(settings.source, path, f"cannot import {error.name}", f"pip install {error.name}") from None
    except AttributeError as error:
        raise ConfigError(settings.source, path, str(error)) from None
    return made


def _load(target: str, *arguments: Any) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments)


def _observed(state: Path) -> Sizes:
    """Sizes with what past tasks used, where there are enough of them."""
    totals: tuple[int, Usage] = importlib.import_module("harness.routing.observed").observed(state)
    return Sizes().learned(*totals)


def _is_complex(issue: Issue) -> bool:
    return any(value.casefold() == "complex" for value in labelled(issue, "complexity"))
