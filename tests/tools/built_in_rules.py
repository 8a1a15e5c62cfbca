"""The built-in rules as JSON: `python -m tests.tools.built_in_rules` rewrites harness/routing/rules.json.

People read and copy `rules.yaml`; `harness route` reads the JSON, because importing a YAML reader takes longer than
routing does. tests/routing/test_rules.py holds that both say the same.
"""

from __future__ import annotations

import json

from harness.config.reading import read_mapping
from harness.routing.rules import BUILT_IN, READY


def ready() -> str:
    """What `rules.json` should hold."""
    return json.dumps(read_mapping(BUILT_IN), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    READY.write_text(ready(), encoding="utf-8")
