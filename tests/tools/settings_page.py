"""docs/settings.md, made from the settings themselves: `python -m tests.tools.settings_page` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.describe import Key, keys

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"
HEAD = """# Settings

`harness.yaml` in the repository; `harness init` writes one with every default in it, and `harness config check` names
file, key and cure for whatever is wrong. Everything has a default. `$NAME` and `${NAME}` take a value from the
environment. Options of a command stand above the file. The keys below `gateway` are shown in
[examples/gateway/harness.yaml](../examples/gateway/harness.yaml).

| Key | Default | |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"| `{name}` | {_default(key)} | {_cell(key.doc)} |\n" for name, key in _all())


def setting_names() -> set[str]:
    """Every key, with dots: `queue.poll_seconds`; sections too."""
    return {name for name, _ in _all()}


def _all() -> Iterator[tuple[str, Key]]:
    for key in keys():
        yield key.name, key
        if key.section is not None:
            for inner in keys(key.section):
                yield f"{key.name}.{inner.name}", inner
                if inner.section is not None:
                    for innermost in keys(inner.section):
                        yield f"{key.name}.{inner.name}.{innermost.name}", innermost


def _default(key: Key) -> str:
    if key.section is not None or key.default is None:
        return ""
    text = _plain(key.default)
    return f"`{text}`" if text else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) + "}"
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
