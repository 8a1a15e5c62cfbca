"""Routes that a request brings along: `routing_preferences`, and the older `routing_policy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from harness.config.gateway_section import Route
from harness.gateway.exchange import Asked
from harness.gateway.refusal import Refusal

_INLINE = frozenset(("routing_preferences", "routing_policy"))


def inline_routes(body: Mapping[str, Any]) -> tuple[Route, ...] | None:
    """`routing_preferences` (or the older `routing_policy`) of a request; None when it has none.

    Raises Refusal that names the field: a policy that cannot be read is never passed over in silence.
    """
    if "routing_preferences" in body:
        return _routes(body["routing_preferences"], "routing_preferences")
    if "routing_policy" not in body:
        return None
    merged: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(_list(body["routing_policy"], "routing_policy")):
        where = f"routing_policy.{number}"
        preferences = _list(row.get("routing_preferences") or [], f"{where}.routing_preferences")
        for preference in preferences:
            name = str(preference.get("name"))
            entry = merged.setdefault(name, {**preference, "models": []})
            entry["models"].append(row.get("model"))
    return _routes(list(merged.values()), "routing_policy")


def without_routing(asked: Asked) -> Asked:
    """The request without the fields that only this gateway reads."""
    if not asked.body.keys() & _INLINE:
        return asked
    body = {name: value for name, value in asked.body.items() if name not in _INLINE}
    return replace(asked, body=body, raw=orjson.dumps(body))


def _list(data: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise Refusal(400, f"{where}: expected an array of objects", param=where)
    return data


def _routes(data: Any, where: str) -> tuple[Route, ...] | None:
    if data is None:
        return None
    return tuple(_route(row, f"{where}.{number}") for number, row in enumerate(_list(data, where)))


def _route(row: dict[str, Any], where: str) -> Route:
    name, description, models = row.get("name"), row.get("description"), row.get("models")
    for key, value in (("name", name), ("description", description)):
        if not isinstance(value, str) or not value:
            raise Refusal(400, f"{where}.{key}: expected text", param=f"{where}.{key}")
    if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
        raise Refusal(400, f"{where}.models: expected a list of provider/model names", param=f"{where}.models")
    policy = row.get("selection_policy")
    prefer = (policy.get("prefer") if isinstance(policy, dict) else None) or "none"
    if prefer not in ("cheapest", "fastest", "none"):
        raise Refusal(
            400,
            f"{where}.selection_policy.prefer: expected cheapest, fastest or none, got '{prefer}'",
            param=f"{where}.selection_policy.prefer",
        )
    examples = row.get("examples")
    spoken = tuple(map(str, examples)) if isinstance(examples, list) else ()
    return Route(name=str(name), description=str(description), models=tuple(models), prefer=prefer, examples=spoken)
