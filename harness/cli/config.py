"""`harness config`: check a configuration, or turn another tool's into harness.yaml."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness import registry
from harness.cli.common import common_options, put_json, repository_root, say, show
from harness.config.gateway import gateway_settings, is_foreign, section_of
from harness.config.gateway_section import GatewaySettings
from harness.config.pipelines import find_pipeline, known_pipelines
from harness.config.reading import environment, read_mapping
from harness.config.settings import Settings, find_settings, load_settings
from harness.errors import ConfigError, UnknownName
from harness.routing.router import build_router
from harness.routing.rules import load_rules

EXAMPLES = """examples:
  harness config check                                # harness.yaml of this repository
  harness config check pipelines/careful.yaml         # one pipeline; those in the folder are checked with harness.yaml
  harness config check plano_config.yaml              # Plano's file, or TOML with [router]
  harness config import plano_config.yaml > harness.yaml
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("check", "import"), help="check: is it valid; import: print it as harness.yaml"
    )
    parser.add_argument("file", type=Path, nargs="?", help="the configuration (default for check: this repository's)")
    common_options(parser)


def run(arguments: argparse.Namespace) -> int:
    return _check(arguments) if arguments.action == "check" else _import(arguments)


def _check(arguments: argparse.Namespace) -> int:
    root = repository_root(arguments.repo)
    file = arguments.file or arguments.config or find_settings(root)
    data = {} if file is None else read_mapping(file)
    if file is not None and "phases" in data:
        return _check_pipeline(file, load_settings(root, arguments.config), arguments.json)
    foreign = is_foreign(data)
    settings = load_settings(root, None if foreign else file)
    built = gateway_settings(settings, file if foreign else None)
    pipelines = () if foreign else _check_work(settings)
    if arguments.json:
        found = {"pipelines": list(pipelines), **_summary(built)}
        put_json({"ok": True, "file": str(file or "defaults"), "warnings": built.warnings, **found})
        return 0
    for warning in built.warnings:
        say(f"warning: {warning}")
    show(f"{file or 'defaults'}: valid")
    if not foreign:
        show(f"  tiers      {', '.join(f'{tier} → {models[0]}' for tier, models in settings.tiers.items())}")
        show(f"  pipelines  {', '.join(pipelines)}")
    for name, value in _summary(built).items():
        show(f"  {name:<10} {', '.join(map(str, value)) or 'none'}")
    return 0


def _check_work(settings: Settings) -> tuple[str, ...]:
    """The names of the pipelines, when they, the routing rules and the executor are right; raises ConfigError."""
    registry.known_executor(settings.executor, settings, settings.source, ("executor",))
    build_router(settings)
    _check_rules(settings)
    names = tuple(known_pipelines([settings.root / settings.pipelines]))
    for name in names:
        registry.pipeline(name, settings)
    return names


def _check_rules(settings: Settings) -> None:
    """Rules that send issues to pipelines send them to some that exist; raises ConfigError."""
    rules, folder = load_rules(settings), settings.root / settings.pipelines
    own = [rule.get("name") for rule in settings.routing.rules]
    places: list[tuple[tuple[str | int, ...], str | None]] = [
        (("routing", "rules", own.index(rule.name)) if rule.name in own else ("rules", rule.name), rule.pipeline)
        for rule in rules.rules
    ]
    places += [(("files", number), bound.pipeline) for number, bound in enumerate(rules.files)]
    for path, pipeline in places:
        where = settings.source if path[0] == "routing" else str(settings.routing.rules_file or "rules.yaml")
        try:
            if pipeline is not None:
                find_pipeline(pipeline, [folder])
        except UnknownName as error:
            raise ConfigError(where, (*path, "pipeline"), error.message, error.hint) from None


def _check_pipeline(file: Path, settings: Settings, as_json: bool) -> int:
    found = registry.pipeline(str(file), settings)
    if as_json:
        put_json({"ok": True, "file": str(file), "warnings": [], "pipeline": found})
        return 0
    show(f"{file}: valid")
    for phase in found.phases:
        when = f", when {phase.trigger}" if phase.trigger else ""
        show(f"  {phase.id}: {phase.kind} with {phase.tier or 'the routed tier'}{when}")
    return 0


def _summary(built: GatewaySettings) -> dict[str, list[str]]:
    return {
        "models": ["every model of every known provider"] if built.open_models else _names(built),
        "aliases": [f"{alias} → {target}" for alias, target in built.section.aliases.items()],
        "scenarios": [f"{name} → {' | '.join(chain)}" for name, chain in built.section.scenarios.chains.items()],
        "routes": [
            f"{route.name} → {' | '.join(route.models or (route.tier or '',))}" for route in built.section.routes
        ],
    }


def _names(built: GatewaySettings) -> list[str]:
    return [name for name, target in built.targets.items() if not target.internal]


def _import(arguments: argparse.Namespace) -> int:
    file = arguments.file or arguments.config
    if file is None:
        raise ConfigError("harness config import", (), "no file was named", "harness config import plano_config.yaml")
    data = read_mapping(file)
    if not is_foreign(data):
        raise ConfigError(
            str(file), (), "is no configuration of another tool", "give Plano's file, or TOML with [router]"
        )
    section, providers, warnings = section_of(data, str(file))
    gateway_settings(load_settings(repository_root(arguments.repo), None), file, _AllSet(environment()))
    document: dict[str, Any] = {"version": 1, **({"providers": providers} if providers else {}), "gateway": section}
    for warning in warnings:
        say(f"warning: {warning}")
    if arguments.json:
        put_json({"document": document, "warnings": list(warnings)})
    else:
        show(f"# Imported from {file.name}.\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())
    return 0


class _AllSet(dict[str, str]):
    """The environment, with something in every variable: importing needs no keys."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "set-later"

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]
