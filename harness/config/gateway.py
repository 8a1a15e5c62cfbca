"""The `gateway:` section of harness.yaml, a Plano file or a `[router]` TOML → one GatewaySettings.

The section is plain data, and the readers of other tools' files (`plano.py`, `router_toml.py`) only rewrite theirs as
one: what `harness config import` prints is what `harness serve` runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config import plano, router_toml
from harness.config.gateway_section import GatewaySection, GatewaySettings
from harness.config.plano import is_plano, plano_section
from harness.config.reading import environment, expand, read_mapping, validate
from harness.config.router_toml import router_section
from harness.config.settings import ProviderSettings, Settings
from harness.config.targets import ModelRow, Target, known_providers, resolve, target_of
from harness.errors import ConfigError, did_you_mean

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


def gateway_settings(
    settings: Settings, file: Path | None = None, variables: Mapping[str, str] | None = None
) -> GatewaySettings:
    """Settings of the gateway: from `file` (harness, Plano or `[router]` form), else from `settings.gateway`.

    Raises ConfigError naming file, key path and cure.
    """
    variables = environment() if variables is None else variables
    if file is None:
        return build(settings.gateway, settings, settings.source, variables)
    data = read_mapping(file)
    section, providers, warnings = section_of(data, str(file))
    if providers is not None:
        rows = expand(providers, variables, str(file), ("providers",))
        own: dict[str, ProviderSettings] = validate(dict[str, ProviderSettings], rows, str(file), ("providers",))
        settings = settings.model_copy(update={"providers": own})
    section, unset = _without_unset_keys(section, variables)
    try:
        return build(expand(section, variables, str(file)), settings, str(file), variables, (*warnings, *unset))
    except ConfigError as error:
        raise _as_written(error, data) from None


def _as_written(error: ConfigError, data: Mapping[str, Any]) -> ConfigError:
    """The error with the keys that another tool's file has, where it was found in the section made from it."""
    if not is_foreign(data):
        return error
    words: dict[tuple[str, ...], tuple[str, ...]] = dict(plano.AS_WRITTEN if is_plano(data) else router_toml.AS_WRITTEN)
    if "llm_providers" in data:
        words["models",] = ("llm_providers",)
    path = error.path[1:] if error.path[:1] == ("gateway",) else error.path
    for ours, theirs in words.items():
        if path[: len(ours)] == ours:
            return ConfigError(error.where, (*theirs, *path[len(ours) :]), error.problem, error.hint)
    return error


def _without_unset_keys(
    section: dict[str, Any], variables: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A key whose variable is not set only stops requests to its model; decisions need no keys."""
    rows: list[Any] = []
    warnings: list[str] = []
    for row in section.get("models") or ():
        key = row.get("api_key") if isinstance(row, dict) else None
        match = _VARIABLE.fullmatch(key) if isinstance(key, str) else None
        if match is not None and match[1] not in variables:
            row = {**{name: value for name, value in row.items() if name != "api_key"}, "missing_key": match[1]}
            warnings.append(f"{match[1]} is not set: requests to {row['model']} will be refused; decisions work")
        rows.append(row)
    return {**section, **({"models": rows} if rows else {})}, tuple(warnings)


def is_foreign(data: Mapping[str, Any]) -> bool:
    """Whether a file is a gateway's alone (Plano's, or `[router]`) and no harness.yaml."""
    return is_plano(data) or "router" in data or "Router" in data


def section_of(data: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any] | None, tuple[str, ...]]:
    """A configuration of any accepted form → (our `gateway:` section, `providers:`, warnings)."""
    if is_plano(data):
        section, warnings = plano_section(data, where)
        return section, None, warnings
    if "router" in data or "Router" in data:
        return router_section(data, where), None, ()
    if "gateway" in data or "tiers" in data or data.get("version") == 1 or not data:
        return dict(data.get("gateway") or {}), data.get("providers"), ()
    known = ("gateway", "router", "model_providers", "listeners")
    raise ConfigError(
        where,
        (),
        f"is no gateway configuration: none of {', '.join(known)} is in it",
        "give harness.yaml, a Plano configuration or a TOML file with [router]",
    )


def build(
    data: dict[str, Any],
    settings: Settings,
    where: str,
    variables: Mapping[str, str],
    warnings: tuple[str, ...] = (),
) -> GatewaySettings:
    """A section, its variables already expanded → checked settings. Raises ConfigError."""
    section: GatewaySection = validate(GatewaySection, data, where, ("gateway",))
    known = known_providers()
    everyone = {name for name, row in known.items() if row["base_url"]} | set(settings.providers)
    rows = section.models or tuple(ModelRow(model=f"{name}/*") for name in sorted(everyone))
    targets: dict[str, Target] = {}
    for number, row in enumerate(rows):
        target = target_of(row, known, settings.providers, variables, where, number)
        if target.name in targets:
            raise ConfigError(where, ("gateway", "models", number), f"'{target.name}' stands twice")
        targets[target.name] = target
    defaults = [row.name or row.model for row in rows if row.default]
    if len(defaults) > 1:
        raise ConfigError(
            where,
            ("gateway", "models"),
            f"two defaults: {defaults[0]} and {defaults[1]}",
            "keep `default: true` on one of them",
        )
    built = GatewaySettings(
        section=section,
        targets=targets,
        default=defaults[0] if defaults else None,
        open_models=not section.models,
        source=where,
        warnings=warnings,
    )
    _check_references(built, settings, where)
    return built


def _check_references(built: GatewaySettings, settings: Settings, where: str) -> None:
    for alias in built.section.aliases:
        seen = [alias]
        while (after := built.section.aliases.get(seen[-1])) is not None:
            if after in seen:
                raise ConfigError(
                    where, ("gateway", "aliases", alias), f"goes in a circle: {' → '.join([*seen, after])}"
                )
            seen.append(after)
        _check_model(built, seen[-1], where, ("gateway", "aliases", alias))
    for name, chain in built.section.scenarios.chains.items():
        for model in chain:
            _check_model(built, model, where, ("gateway", "scenarios", "chains", name))
    names: set[str] = set()
    for number, route in enumerate(built.section.routes):
        path: tuple[str | int, ...] = ("gateway", "routes", number)
        if route.name in names:
            raise ConfigError(where, path, f"two routes are named '{route.name}'")
        names.add(route.name)
        if not route.models and route.tier not in settings.tiers:
            raise ConfigError(where, path, f"route '{route.name}' has no models", "add `models: [provider/model, …]`")
        for model in route.models:
            _check_model(built, model, where, (*path, "models"))


def _check_model(built: GatewaySettings, model: str, where: str, path: tuple[str | int, ...]) -> None:
    if resolve(built.targets, model) is None:
        names = [name for name in built.targets if not name.endswith("/*")] or list(built.targets)
        raise ConfigError(where, path, f"no model '{model}'; known: {', '.join(names)}{did_you_mean(model, names)}")
