"""The map in ARCHITECTURE.md, made from the house: `python -m tests.tools.map_page` writes it anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "ARCHITECTURE.md"

ROOMS = (
    "types",
    "errors",
    "strangers",
    "spans",
    "protocols",
    "budget",
    "redact",
    "markup",
    "records",
    "spool",
    "shipped",
    "prompts",
    "proc",
    "graph",
    "config",
    "telemetry",
    "pricing",
    "published_prices",
    "wal",
    "journal",
    "outcomes",
    "stop",
    "drawing",
    "sandbox",
    "verify",
    "workspace",
    "trackers",
    "suggest",
    "routing",
    "models",
    "executors",
    "worker",
    "backends",
    "phases",
    "engine",
    "registry",
    "assembly",
    "report",
    "clock",
    "allowance",
    "claims",
    "taking",
    "queue",
    "watch",
    "convoy",
    "gateway",
    "doctor",
    "cli",
    "__main__",
)
"""A module imports from its own room and from rooms above it, never from one below."""

DATA = {
    "config/providers.yaml": "Known providers: address, wire formats, variable of the key.",
    "executors/presets.yaml": "Agents that are ready to use: argv, provider, models.",
    "gateway/advice.yaml": "Kinds of work → tiers, for decisions asked of a gateway without routes.",
    "gateway/console.js": "The console's live part.",
    "page.css": "The one style of report and console.",
    "prices.json": "Prices as released; `python -m harness.published_prices` rewrites it.",
    "report/targets.toml": "The metrics' targets.",
    "routing/data/arch_router.txt": "The prompt that Arch-Router was trained on.",
    "routing/data/minilm.onnx": "The embedding model, all-MiniLM-L6-v2 in 8 bits.",
    "routing/data/orchestrator.txt": "The prompt that Plano-Orchestrator was trained on.",
    "routing/data/requests.npy": "Their vectors; `python -m tests.tools.make_request_vectors` rewrites it.",
    "routing/data/requests.txt": "What people ask of language models, by kind, with the kinds' names.",
    "routing/data/tokenizer.json": "The embedding model's words.",
    "routing/rules.json": "`rules.yaml` as it loads fast; `python -m tests.tools.built_in_rules` rewrites it.",
    "routing/rules.yaml": "The built-in rules: words → tiers.",
    "routing/tiers.yaml": "The strategy `preference` without routes of yours: kinds of issues → tiers.",
}
"""Files that are data, and what they hold."""


def owned() -> Iterator[tuple[str, str]]:
    """Each file of `harness/` that holds anything, with the first sentence it says of itself, in the order of rooms."""
    root = ROOT / "harness"
    files = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size]
    places = {name: place for place, name in enumerate(ROOMS)}
    for path in sorted(files, key=lambda path: (places.get(path.relative_to(root).parts[0].split(".")[0], -1), path)):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".py":
            yield name, first_sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
        elif name in DATA:
            yield name, DATA[name]


def first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.;]) (?=[A-Z`])", paragraph)[0].rstrip(";:")


def rooms() -> str:
    """The rooms in lines of some width, arrows between them."""
    lines = [""]
    for name in ROOMS:
        lines[-1] += f" → {name}"
        if len(lines[-1]) > 90:
            lines.append("")
    return "\n".join(line.strip() for line in lines if line)


def files() -> str:
    rows = "".join(f"| `harness/{name}` | {_cell(text)} |\n" for name, text in owned())
    return f"| File | Owns |\n|---|---|\n{rows}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(text: str) -> str:
    """The document with its marked parts as they should be."""
    for mark, content in (("rooms", f"```\n{rooms()}\n```\n"), ("files", files())):
        before, start, rest = text.partition(f"<!-- {mark} -->\n")
        _, end, after = rest.partition(f"<!-- /{mark} -->")
        assert start and end, f"{PAGE}: the marks of {mark} are gone"
        text = before + start + content + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
