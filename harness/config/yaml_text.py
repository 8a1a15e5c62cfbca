"""YAML text → plain data; the same key twice is refused. PyYAML is imported here, when there is YAML to read."""

from __future__ import annotations

from typing import Any

import yaml

from harness.errors import ConfigError

try:  # libyaml is five times faster, where PyYAML was built with it
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # pragma: no cover - depends on the platform's wheel
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]


_MERGE = "tag:yaml.org,2002:merge"
"""Of `<<: *defaults`, which takes up another mapping's keys; what is said beside it wins."""


class _Loader(_BaseLoader):
    """YAML that refuses the same key twice, where plain YAML silently keeps the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int | float | bool) and key in seen:
            raise yaml.MarkedYAMLError(
                "while reading a mapping", node.start_mark, f"key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key if isinstance(key, str | int | float | bool) else id(key))
    return _BaseLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(text: str, where: str) -> Any:
    """The document's data; raises ConfigError with line and column."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(where, (), f"{place}{error.problem or 'is not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise ConfigError(where, (), f"is not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ConfigError(where, (), "is nested too deeply") from None
