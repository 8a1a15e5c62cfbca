"""The strategies that read an issue itself: its model label, complexity label, words, and number of files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import did_you_mean
from harness.routing.rules import RuleSet
from harness.types import Considered, Issue, Opinion, TraceLine

Exists = Callable[[str], bool]
"""Whether a path, relative to the repository, is a file in it."""

MODEL_KEY = "execution_suggested_model"
"""Beads' metadata key for a suggested model."""
COUNT_KEYS = ("file_count", "files_affected", "estimated_files")
TEXT_READ = 50_000
"""Characters of an issue's body in which paths are looked for."""
PATHS_TRIED = 400

_CHUNK = re.compile(r"""[^\s,;:"'`<>|*]+""")
_AROUND = "()[]{}.!?"


def labelled(issue: Issue, prefix: str) -> tuple[str, ...]:
    """The values of labels `prefix:value`, whatever the prefix's case."""
    start = prefix.casefold() + ":"
    return tuple(label[len(start) :].strip() for label in issue.labels if label.casefold().startswith(start))


class LabelStrategy:
    """`model:haiku`, or Beads' suggestion in the metadata; the label wins, and of two labels the strongest."""

    name = "label"

    def __init__(self, tiers: Mapping[str, Collection[str]]) -> None:
        self._tiers = tiers
        self._order = list(tiers)

    def consider(self, issue: Issue) -> Considered:
        given = labelled(issue, "model")
        found = [tier for value in given if (tier := self._tier(value))]
        warnings = [self._unknown(f"label 'model:{value}'", value) for value in given if not self._tier(value)]
        hint = issue.metadata.get(MODEL_KEY)
        if found:
            tier = max(found, key=self._order.index)
            if len(set(found)) > 1:
                warnings.append(f"labels ask for {' and '.join(dict.fromkeys(found))}; the strongest wins")
            why = f"label model:{next(value for value in given if self._tier(value) == tier)}"
            return self._say(tier, "model label", why, warnings)
        if isinstance(hint, str) and hint.strip():
            hinted = self._tier(hint)
            if hinted:
                return self._say(hinted, "suggested model", f"metadata {MODEL_KEY}: {hint}", warnings)
            warnings.append(self._unknown(f"metadata {MODEL_KEY} '{hint}'", hint))
        why = warnings[-1] if warnings else "no model: label"
        return Considered(None, (TraceLine(rule="model label", matched=False, why=why),), tuple(warnings))

    def _tier(self, value: str) -> str | None:
        """The tier a value means: its name, a model of its pool, or a model whose name says it (claude-haiku-4-5)."""
        value = value.casefold().strip()
        for tier, models in self._tiers.items():
            names = {name for model in models for name in (model.casefold(), model.casefold().partition("/")[2])}
            if value == tier.casefold() or value in names:
                return tier
        parts = set(re.findall(r"[a-z]+", value))
        named = [tier for tier in self._order if tier.casefold() in parts]
        return named[0] if len(named) == 1 else None

    def _say(self, tier: str, rule: str, why: str, warnings: list[str]) -> Considered:
        return Considered(
            Opinion(tier=tier, rule=rule, reason=why), (TraceLine(rule=rule, matched=True, why=why),), tuple(warnings)
        )

    def _unknown(self, what: str, value: str) -> str:
        return f"{what} names no tier; known: {', '.join(self._order)}{did_you_mean(value, self._order)}"


class ComplexityStrategy:
    """`complexity:trivial` and its like, by the table in the rules."""

    name = "complexity"

    def __init__(self, table: Mapping[str, str], tiers: Collection[str]) -> None:
        self._table = {value.casefold(): tier for value, tier in table.items()}
        self._order = list(tiers)

    def consider(self, issue: Issue) -> Considered:
        given = [value.casefold() for value in labelled(issue, "complexity")]
        warnings = [
            f"label 'complexity:{value}' is unknown; known: {', '.join(self._table)}{did_you_mean(value, self._table)}"
            for value in given
            if value not in self._table
        ]
        known = [value for value in given if value in self._table]
        if not known:
            why = warnings[0] if warnings else "no complexity: label"
            return Considered(None, (TraceLine(rule="complexity label", matched=False, why=why),), tuple(warnings))
        value = max(known, key=lambda value: self._order.index(self._table[value]))
        if len(set(known)) > 1:
            warnings.append(f"labels say {' and '.join(dict.fromkeys(known))}; the most complex wins")
        why = f"label complexity:{value}"
        opinion = Opinion(tier=self._table[value], rule=f"complexity {value}", reason=why)
        return Considered(opinion, (TraceLine(rule="complexity label", matched=True, why=why),), tuple(warnings))


class PatternStrategy:
    """The named rules on title, body and triggers."""

    name = "pattern"

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    def consider(self, issue: Issue) -> Considered:
        verdict = self._rules.ask(issue)
        if verdict.rule is None:
            return Considered(None, verdict.trace)
        sure = 0.6 if verdict.why.startswith("description") else 0.8
        opinion = Opinion(
            tier=verdict.tier,
            rule=verdict.rule.name,
            reason=verdict.why,
            confidence=sure,
            pipeline=verdict.rule.pipeline,
        )
        return Considered(opinion, verdict.trace)


class FileCountStrategy:
    """How many files an issue is about, by the bounds in the rules."""

    name = "files"

    def __init__(self, rules: RuleSet, exists: Exists) -> None:
        self._bounds = rules.files
        self._exists = exists
        self._newest: tuple[Issue, tuple[str, ...]] | None = None

    def files(self, issue: Issue) -> tuple[str, ...]:
        """`files_of` the issue, looked up once a decision: up to three parts of it ask one after the other."""
        if self._newest is None or self._newest[0] is not issue:
            self._newest = issue, files_of(issue, self._exists)
        return self._newest[1]

    def count(self, issue: Issue) -> int:
        """Files the issue is about, as far as can be told; 0 is not known."""
        told = next((n for key in COUNT_KEYS if (n := issue.metadata.get(key)) and type(n) is int and n > 0), 0)
        return max(told, len(self.files(issue)))

    def consider(self, issue: Issue) -> Considered:
        count = self.count(issue)
        if not count:
            line = TraceLine(rule="file count", matched=False, why="the issue names no file of this repository")
            return Considered(None, (line,))
        bound = next((bound for bound in self._bounds if bound.at_most is None or count <= bound.at_most), None)
        why = f"{count} file{'s' if count > 1 else ''}: {_some(self.files(issue))}".removesuffix(": ")
        if bound is None:
            return Considered(None, (TraceLine(rule="file count", matched=False, why=f"{why}; no bound covers it"),))
        name = f"{'up to ' + str(bound.at_most) if bound.at_most else 'many'} files".replace(
            "up to 1 files", "one file"
        )
        opinion = Opinion(tier=bound.tier, rule=name, reason=why, confidence=0.7, pipeline=bound.pipeline)
        return Considered(opinion, (TraceLine(rule="file count", matched=True, why=why),))


def files_of(issue: Issue, exists: Exists) -> tuple[str, ...]:
    """The files an issue is about: those it lists, and paths in its text that exist; each once, sorted."""
    listed = issue.metadata.get("files")
    named = [*issue.files, *(str(item) for item in listed)] if isinstance(listed, list | tuple) else list(issue.files)
    found = {path for name in named if (path := _relative(name))}
    for number, path in enumerate(paths_in(f"{issue.title}\n{issue.body[:TEXT_READ]}")):
        if number >= PATHS_TRIED:
            break
        if path not in found and exists(path):
            found.add(path)
    return tuple(sorted(found))


def paths_in(text: str) -> Iterator[str]:
    """What looks like a path with a folder or an extension, each once: `src/app.py:12` → `src/app.py`."""
    seen: set[str] = set()
    for match in _CHUNK.finditer(text):
        chunk = match[0]
        if "/" not in chunk and "." not in chunk:
            continue
        for raw in dict.fromkeys((chunk, chunk.strip(_AROUND))):
            path = _relative(raw) if "/" in raw or "." in raw[:-1] else None
            if path and path not in seen:
                seen.add(path)
                yield path


def in_folder(root: Path) -> Exists:
    """Files of a checkout, asked of the file system; nothing outside of it."""

    def exists(path: str) -> bool:
        return os.path.isfile(os.path.join(root, path))

    return exists


def _relative(name: Any) -> str | None:
    """A path in one form; None for what leads out of the repository."""
    text = str(name).strip().replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or not parts or parts[0] in ("~", ".git") or ".." in parts:
        return None
    return "/".join(parts)


def _some(paths: tuple[str, ...]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
