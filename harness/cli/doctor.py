"""`harness doctor`: what is installed, what works, and what fixes the rest."""

from __future__ import annotations

import argparse

import anyio

from harness.cli.common import common_options, put_json, settings_from, show
from harness.doctor import Finding, examine

EXAMPLES = """examples:
  harness doctor          a line for each thing that the harness may use here
  harness doctor --json   the same for a program; exit code 2 when something is in the way
"""

SIGNS = {"works": "ok", "broken": "BROKEN", "missing": "missing", "off": "off"}


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    findings = anyio.run(examine, settings)
    in_the_way = [finding for finding in findings if finding.in_the_way]
    if arguments.json:
        put_json({"settings": settings.source, "findings": findings, "in_the_way": [one.name for one in in_the_way]})
        return 2 if in_the_way else 0
    show(f"{'settings':<14} {'ok':<8} {settings.source}")
    for finding in findings:
        for line in _lines(finding):
            show(line)
    show("", "Nothing is in the way." if not in_the_way else f"In the way: {', '.join(f.name for f in in_the_way)}.")
    return 2 if in_the_way else 0


def _lines(finding: Finding) -> list[str]:
    sign = SIGNS[finding.state].upper() if finding.in_the_way else SIGNS[finding.state]
    lines = [f"{finding.name:<14} {sign:<8} {finding.detail}"]
    return lines + ([f"{'':<23} → {finding.cure}"] if finding.cure and finding.state != "works" else [])
