"""The settings as a person reads them: every key, its default, and what its docstring says.

Pydantic keeps docstrings of attributes only where it is told to, and then reads sources at every start; here they are
read when somebody asks.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel

from harness.config.settings import Settings

FOUND = frozenset({"root", "source"})
"""Fields that are found, not configured."""


@dataclass(frozen=True)
class Key:
    """One key of `harness.yaml`."""

    name: str
    default: Any
    doc: str
    section: type[BaseModel] | None
    """Set where the key holds further keys."""


def keys(model: type[BaseModel] = Settings) -> Iterator[Key]:
    """The model's keys in their order."""
    docs = _docs(model)
    for name, field in model.model_fields.items():
        if model is Settings and name in FOUND:
            continue
        default = field.get_default(call_default_factory=True)
        section = type(default) if isinstance(default, BaseModel) else None
        doc = docs.get(name) or (_first_sentence(section) if section else "")
        yield Key(name, default, doc, section)


def as_yaml(verify: tuple[str, ...] = ()) -> str:
    """A `harness.yaml` that says what can be said: comments, and every default behind a `#` at the line's start.

    Taking that `#` away changes nothing until the value is changed.
    """
    lines = [
        "# How harness works in this repository. Lines that start with # and a key show the default; remove the # to",
        "# change one. `harness config check` tells whether the file is right.",
        "",
        "version: 1",
    ]
    for key in keys():
        if key.name == "version":
            continue
        lines.append("")
        if key.name == "verify" and verify:
            lines += [*_comment(key.doc, ""), "verify:", *(f"  - {_scalar(command)}" for command in verify)]
        else:
            lines += _key(key, "")
    return "\n".join(lines) + "\n"


def _key(key: Key, indent: str) -> Iterator[str]:
    yield from _comment(key.doc, indent)
    if key.section is None:
        yield f"#{indent}{key.name}: {_scalar(key.default)}"
        return
    yield f"#{indent}{key.name}:"
    for inner in keys(key.section):
        yield from _key(inner, indent + "    ")


def _comment(doc: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(doc, 110 - len(indent))]


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(_jsonable(value), default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _first_sentence(model: type[BaseModel] | None) -> str:
    """Of the section's own docstring; one that is inherited says nothing of it."""
    return " ".join(((model and model.__doc__) or "").split("\n\n")[0].split())


@cache
def _docs(model: type[BaseModel]) -> dict[str, str]:
    """Field → the string literal under it, of the model and the models it derives from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not (issubclass(cls, BaseModel) and cls.__module__.startswith("harness")):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found[field.target.id] = " ".join(str(text.value.value).split())
    return found
