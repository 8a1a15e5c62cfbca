"""Files → plain data → validated values, with errors that name file, key path and cure."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness.errors import ConfigError, did_you_mean

M = TypeVar("M")

_EXPECTED = {
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "decimal_type": "expected a number",
    "decimal_parsing": "expected a number",
}
"""Pydantic's kinds of errors, in the words of somebody who writes YAML."""

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")


def read_text(path: Path) -> str:
    """The file's text; raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), (), "no such file") from None
    except IsADirectoryError:
        raise ConfigError(str(path), (), "is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), (), f"is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(str(path), (), error.strerror or str(error)) from None


def parse(text: str, where: str, form: str) -> dict[str, Any]:
    """YAML or TOML text → a mapping. `form` is `yaml` or `toml`; raises ConfigError with line and column."""
    data = _toml(text, where) if form == "toml" else _yaml(text, where)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(where, (), f"expected a mapping of keys to values, got {kind_of(data)}")
    return data


def _yaml(text: str, where: str) -> Any:
    # What reads YAML takes longer to import than a title takes to route, and there may be none to read.
    return importlib.import_module("harness.config.yaml_text").load(text, where)


def _toml(text: str, where: str) -> Any:
    tomllib = importlib.import_module("tomllib")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, (), f"is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(where, (), "is nested too deeply") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or TOML file as a mapping; raises ConfigError."""
    return parse(read_text(path), str(path), "toml" if path.suffix == ".toml" else "yaml")


def expand(data: Any, environment: Mapping[str, str], where: str, path: tuple[str | int, ...] = ()) -> Any:
    """Replace `$VAR`, `${VAR}` and `${VAR:-default}` in string values; an unset variable is an error that names it."""
    if isinstance(data, str):

        def value(match: re.Match[str]) -> str:
            name, default = match[1] or match[3], match[2]
            found = environment.get(name, default)
            if found is None:
                raise ConfigError(where, path, f"the environment has no {name}", f"export {name}=…, or remove the key")
            return found

        return _VARIABLE.sub(value, data)
    if isinstance(data, dict):
        return {key: expand(item, environment, where, (*path, str(key))) for key, item in data.items()}
    if isinstance(data, list):
        return [expand(item, environment, where, (*path, number)) for number, item in enumerate(data)]
    return data


def validate(kind: type[M] | Any, data: Any, where: str, path: Iterable[str | int] = ()) -> M:
    """`data` as a `kind`; raises ConfigError for the first problem, naming the rest by number."""
    try:
        return TypeAdapter(kind).validate_python(data)  # type: ignore[no-any-return]
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        # A misspelt key is why another is missing, so it is what to tell first.
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        trail = (*path, *(part for part in first["loc"] if not _is_internal(part)))
        problem = _sentence(kind, first)
        if len(problems) > 1:
            problem += f" (and {len(problems) - 1} more problem{'s' if len(problems) > 2 else ''})"
        raise ConfigError(where, trail, problem) from None


def environment() -> Mapping[str, str]:
    """The process environment; the one place that reads it."""
    return os.environ


def kind_of(data: Any) -> str:
    """A value's kind in the words of somebody who writes YAML."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return "nothing" if data is None else names.get(type(data), type(data).__name__)


def _is_internal(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"function-before", "function-after"})


def _sentence(kind: Any, problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        known = _fields_at(kind, problem["loc"][:-1])
        options = f"; known: {', '.join(sorted(known))}" if known else ""
        return f"unknown key '{name}'{options}{did_you_mean(name, known)}"
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "too_short":
        least, has = re.findall(r"\d+", str(problem["msg"]))
        return f"needs at least {least}, and has {has}"
    got = problem.get("input")
    message = _EXPECTED.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    message = re.sub("^Input should be ", "has to be ", message)
    message = message[0].lower() + message[1:]
    if isinstance(got, dict | list | None):
        # A check of a whole section has said what is wrong; that it is a section helps nobody.
        return message if problem["type"] == "value_error" else f"{message}, got {kind_of(got)}"
    cure = f'; write ["{got}"]' if problem["type"] == "tuple_type" and isinstance(got, str) else ""
    return f"{message}, got {str(got)!r:.80}{cure}"


def _fields_at(kind: Any, loc: Iterable[str | int]) -> list[str]:
    """Field names of the model found by walking `loc` from `kind`; empty when that leads nowhere."""
    current = [kind]
    for part in loc:
        step: list[Any] = []
        for candidate in current:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                for name, field in candidate.model_fields.items():
                    if part in (name, field.alias):
                        step.append(field.annotation)
            else:
                step.extend(get_args(candidate))
        current = [leaf for item in step for leaf in _leaves(item)]
    return [
        field.alias or name
        for candidate in current
        for model in _leaves(candidate)
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items()
    ]


def _leaves(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, UnionType):
        return [leaf for arg in get_args(kind) for leaf in _leaves(arg)]
    return [kind]
