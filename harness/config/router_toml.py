"""The `[router]` form: `think = "openrouter,anthropic/claude-3-opus"`, rewritten as our `gateway:` section."""

from __future__ import annotations

from typing import Any

from harness.config.gateway_section import SCENARIOS
from harness.config.targets import known_providers
from harness.errors import ConfigError, did_you_mean

AS_WRITTEN = {("scenarios", "chains"): ("router",), ("scenarios",): ("router",), ("models",): ("providers",)}
"""Keys of our `gateway:` section → where this form has them."""


def router_section(data: dict[str, Any], where: str) -> dict[str, Any]:
    """`[router]` with `think = "openrouter,anthropic/claude-3-opus"`; `a,m1 | b,m2` is a chain."""
    key = "router" if "router" in data else "Router"
    router, extra = data[key], sorted(set(data) - {key, "providers", "server"})
    if extra:
        raise ConfigError(where, (extra[0],), "is not supported beside [router]", "remove it, or write harness.yaml")
    if not isinstance(router, dict):
        raise ConfigError(where, (key,), "expected a table of scenarios")
    scenarios: dict[str, Any] = {"chains": {}}
    for name, value in router.items():
        if name in ("long_context_threshold", "override_requested_model"):
            scenarios[name] = value
        elif name not in SCENARIOS:
            known = (*SCENARIOS, "long_context_threshold", "override_requested_model")
            raise ConfigError(
                where, (key, name), f"unknown scenario; known: {', '.join(known)}{did_you_mean(name, known)}"
            )
        else:
            parts = value.split("|") if isinstance(value, str) else value
            if not isinstance(parts, list):
                raise ConfigError(where, (key, name), 'expected "provider,model" or a list of them')
            scenarios["chains"][name] = [_pair(part, where, (key, name)) for part in parts]
    section: dict[str, Any] = {"scenarios": scenarios}
    server = data.get("server") or {}
    section |= {name: server[name] for name in ("host", "port") if name in server}
    rows: Any = data.get("providers")
    if rows is not None:
        section["models"] = [_provider_row(row, where, number) for number, row in enumerate(_table_rows(rows, where))]
    return section


def _pair(text: Any, where: str, path: tuple[str, ...]) -> str:
    if isinstance(text, str):
        provider, comma, model = text.strip().partition(",")
        if comma and provider.strip() and model.strip():
            return f"{provider.strip()}/{model.strip()}"
        if not comma and "/" in provider:
            return provider
    raise ConfigError(
        where,
        path,
        f'expected "provider,model", got {str(text)!r:.60}',
        'write e.g. "openrouter,anthropic/claude-3-opus"',
    )


def _table_rows(rows: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(rows, dict):
        return [{"name": name, **(row if isinstance(row, dict) else {})} for name, row in rows.items()]
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    raise ConfigError(where, ("providers",), "expected tables of name, base_url, api_key")


def _provider_row(row: dict[str, Any], where: str, number: int) -> dict[str, Any]:
    known = {"name", "base_url", "api_base_url", "api_key"}
    extra = sorted(set(row) - known)
    if extra or not row.get("name"):
        problem = f"unknown key '{extra[0]}'; known: {', '.join(sorted(known))}" if extra else "name is missing"
        raise ConfigError(where, ("providers", number), problem)
    base = row.get("base_url") or row.get("api_base_url")
    own = {} if row["name"] in known_providers() else {"interface": "openai"}
    return {
        "model": f"{row['name']}/*",
        **({"base_url": base} if base else {}),
        **own,
        **({"api_key": row["api_key"]} if row.get("api_key") else {}),
    }
