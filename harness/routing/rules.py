"""Named rules on an issue's own words, read from `rules.yaml` and the user's settings, and asked in order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from harness.config.reading import read_mapping, read_text, validate
from harness.config.settings import Settings
from harness.errors import ConfigError, did_you_mean
from harness.routing.trigger import Facts, Trigger, parse
from harness.routing.words import Index, Phrase, Reading
from harness.types import Issue, TraceLine, Value

BUILT_IN = Path(__file__).with_name("rules.yaml")
READY = BUILT_IN.with_suffix(".json")
"""The same, for a start without a YAML reader; `python -m tests.tools.built_in_rules` rewrites it."""

BODY_EARLY = 300
"""A word of risk in the body counts when it stands in so many characters from its beginning …"""
BODY_TIMES = 2
"""… or so many times: a passing mention in a long description is no reason to ask the strongest model."""
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
BODY_READ = 20_000
"""Characters of the body that are read."""


class Stronger(Value):
    """Another tier, when a trigger holds."""

    tier: str
    when: str


class Rule(Value):
    """One rule as it is written in YAML; see the head of `rules.yaml`."""

    name: str = Field(min_length=1)
    tier: str | None = None
    words: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    at: Literal["start", "anywhere"] = "anywhere"
    order: bool = False
    body: bool | tuple[str, ...] = False
    names: bool = False
    when: str | None = None
    stronger: Stronger | None = None
    pipeline: str | None = None
    enabled: bool = True

    @property
    def body_words(self) -> tuple[str, ...]:
        """Phrases looked for in the body."""
        return self.body if isinstance(self.body, tuple) else self.words if self.body else ()

    @model_validator(mode="after")
    def _says_something(self) -> Rule:
        if self.enabled and self.tier is None:
            raise ValueError(f"rule '{self.name}' has no tier")
        if self.enabled and not self.words and self.when is None:
            raise ValueError(f"rule '{self.name}' needs words or when")
        return self


class FileBound(Value):
    """What so many files call for; without a bound, any number."""

    at_most: int | None = Field(None, ge=1)
    tier: str
    pipeline: str | None = None


class RuleFile(Value):
    """`rules.yaml`, or what stands in its place."""

    version: Literal[1] = 1
    complexity: dict[str, str] = {}
    files: tuple[FileBound, ...] = ()
    reports: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class Verdict(NamedTuple):
    """The first rule that fits, and every rule asked on the way."""

    rule: Rule | None
    tier: str = ""
    why: str = ""
    trace: tuple[TraceLine, ...] = ()


@dataclass
class RuleSet:
    """The rules of one repository, ready to be asked."""

    complexity: Mapping[str, str]
    files: Sequence[FileBound]
    rules: Sequence[Rule]
    reports: Sequence[str] = ()
    when: Mapping[str, Trigger] = field(default_factory=dict)
    _title: Index = field(default_factory=Index)
    _against: Index = field(default_factory=Index)
    _body: Index = field(default_factory=Index)
    _missed: list[TraceLine] = field(default_factory=list)
    """What the trace says of each rule whose words are not there."""

    def ask(self, issue: Issue) -> Verdict:
        """The verdict on an issue's title, labels and, for words of risk, its body."""
        title = Reading.of(issue.title)
        found = self._in_title(title)
        against = {owner: words for owner, _, words in self._against.find(title)}
        in_body: dict[int, str] | None = None
        facts = facts_of(issue)
        trace: list[TraceLine] = []
        for number, rule in enumerate(self.rules):
            words, why = found.get(number), ""
            if words is not None:
                why = f"title: '{words}'"
            elif rule.body and issue.body:
                in_body = self._in_body(issue.body) if in_body is None else in_body
                words = in_body.get(number)
                why = f"description: '{words}'"
            if words is None and rule.words:
                trace.append(self._missed[number])
                continue
            fits, why = self._judge(rule, why, against.get(number), facts)
            trace.append(TraceLine(rule=rule.name, matched=fits, why=why))
            if fits:
                tier, reason = self._tier(rule, facts)
                return Verdict(rule, tier, why + reason, tuple(trace))
        return Verdict(None, trace=tuple(trace))

    def _judge(self, rule: Rule, why: str, against: str | None, facts: Facts) -> tuple[bool, str]:
        if against is not None:
            return False, f"{why}, but '{against}' speaks against it"
        if rule.when is not None:
            answers = self.when[rule.when].explain(facts)
            return self.when[rule.when].holds(facts), f"{why}, {answers}" if why else answers
        return True, why

    def _tier(self, rule: Rule, facts: Facts) -> tuple[str, str]:
        stronger = rule.stronger
        if stronger is not None and self.when[stronger.when].holds(facts):
            return stronger.tier, f", raised by {stronger.when}"
        return rule.tier or "", ""

    def _in_title(self, title: Reading) -> dict[int, str]:
        found: dict[int, str] = {}
        for owner, at, words in self._title.find(title):
            if self.rules[owner].at == "anywhere" or at in title.starts:
                found.setdefault(owner, words)
        return found

    def _in_body(self, body: str) -> dict[int, str]:
        body = _FENCE.sub(" ", body)
        if not self._body.may_find(body[:BODY_READ]):
            return {}
        found: dict[int, str] = {owner: words for owner, _, words in self._body.find(Reading.of(body[:BODY_EARLY]))}
        seen: dict[int, int] = {}
        for owner, _, words in self._body.find(Reading.of(body[:BODY_READ])):
            seen[owner] = seen.get(owner, 0) + 1
            if seen[owner] >= BODY_TIMES:
                found.setdefault(owner, words)
        return found


def facts_of(issue: Issue) -> Facts:
    """What a rule's trigger may ask about an issue before any work."""
    return Facts(issue.labels, issue.type, issue.priority, issue.title, issue.body, issue.files)


def load_rules(settings: Settings) -> RuleSet:
    """The built-in rules, or `routing.rules_file` in their place, with `routing.rules` on top.

    Raises ConfigError naming file, key path and cure.
    """
    own_file = settings.routing.rules_file
    path = BUILT_IN if own_file is None else own_file if own_file.is_absolute() else settings.root / own_file
    where = str(path)
    data = json.loads(read_text(READY)) if own_file is None else read_mapping(path)
    book: RuleFile = validate(RuleFile, data, where)
    tiers = _Tiers(settings, lenient=own_file is None)
    rules = [_checked(rule, tiers, where, ("rules", number)) for number, rule in enumerate(book.rules)]
    _refuse_twins(rules, where, ("rules",))
    _check_phrases(book.reports, where, ("reports",))
    rules = _with_own(rules, settings, _Tiers(settings, lenient=False))
    return _ready(
        RuleSet(
            {name: tiers.known(tier, where, ("complexity", name)) for name, tier in book.complexity.items()},
            [
                bound.model_copy(update={"tier": tiers.known(bound.tier, where, ("files", number, "tier"))})
                for number, bound in enumerate(book.files)
            ],
            [rule for rule in rules if rule.enabled],
            book.reports,
        ),
        where,
    )


class _Tiers(NamedTuple):
    """Tier names as rules may use them; built-in rules are lenient, because users may name their tiers otherwise."""

    settings: Settings
    lenient: bool

    def known(self, tier: str, where: str, path: tuple[str | int, ...]) -> str:
        names = tuple(self.settings.tiers)
        if tier in names:
            return tier
        if self.lenient:
            return self.settings.meant(tier)
        raise ConfigError(where, path, f"no tier '{tier}'; known: {', '.join(names)}{did_you_mean(tier, names)}")


def _with_own(rules: list[Rule], settings: Settings, tiers: _Tiers) -> list[Rule]:
    path = ("routing", "rules")
    own: list[Rule] = [
        _checked(validate(Rule, data, settings.source, (*path, number)), tiers, settings.source, (*path, number))
        for number, data in enumerate(settings.routing.rules)
    ]
    _refuse_twins(own, settings.source, path)
    places = {rule.name: place for place, rule in enumerate(rules)}
    for rule in own:
        if rule.name in places:
            rules[places[rule.name]] = rule
    return [rule for rule in own if rule.name not in places] + rules


def _checked(rule: Rule, tiers: _Tiers, where: str, path: tuple[str | int, ...]) -> Rule:
    """The rule with tiers that exist, or ConfigError; its phrases and triggers are read to see that they can be."""
    for key, phrases in (("words", rule.words), ("unless", rule.unless), ("body", rule.body_words)):
        _check_phrases(phrases, where, (*path, key))
    if rule.when is not None:
        parse(rule.when, where, (*path, "when"))
    changes: dict[str, Any] = {}
    if rule.tier is not None:
        changes["tier"] = tiers.known(rule.tier, where, (*path, "tier"))
    if rule.stronger is not None:
        parse(rule.stronger.when, where, (*path, "stronger", "when"))
        tier = tiers.known(rule.stronger.tier, where, (*path, "stronger", "tier"))
        changes["stronger"] = rule.stronger.model_copy(update={"tier": tier})
    return rule.model_copy(update=changes)


def _check_phrases(phrases: Iterable[str], where: str, path: tuple[str | int, ...]) -> None:
    for number, text in enumerate(phrases):
        try:
            Phrase.of(text)
        except ValueError as error:
            raise ConfigError(where, (*path, number), str(error)) from None


def _refuse_twins(rules: Sequence[Rule], where: str, path: tuple[str | int, ...]) -> None:
    seen: set[str] = set()
    for number, rule in enumerate(rules):
        if rule.name in seen:
            raise ConfigError(where, (*path, number, "name"), f"two rules are named '{rule.name}'")
        seen.add(rule.name)


def _ready(rules: RuleSet, where: str) -> RuleSet:
    triggers: dict[str, Trigger] = {}
    for number, rule in enumerate(rules.rules):
        where_not = " at the start" if rule.at == "start" else ""
        rules._missed.append(TraceLine(rule=rule.name, matched=False, why=f"no such words{where_not}"))
        phrases = [Phrase.of(text) for text in rule.words]
        rules._title.add(number, phrases, rule.names)
        against = (*rule.unless, *(rules.reports if rule.order else ()))
        rules._against.add(number, [Phrase.of(text) for text in against], rule.names)
        rules._body.add(number, [Phrase.of(text) for text in rule.body_words])
        for text in (rule.when, rule.stronger.when if rule.stronger else None):
            if text is not None:
                triggers[text] = parse(text, where)
    rules.when = triggers
    return rules
