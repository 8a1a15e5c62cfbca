"""The gateway's own OpenAPI document: what it answers itself. Bodies of model requests are their vendors' business."""

from __future__ import annotations

from typing import Any

from harness import __version__

_TURNS = {"type": "array", "items": {"type": "object", "additionalProperties": True}}
_ROUTES = {
    "type": "array",
    "description": "Routes for this request alone, instead of the configured ones.",
    "items": {
        "type": "object",
        "required": ["name", "description", "models"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "description": {"type": "string", "minLength": 1},
            "models": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "selection_policy": {
                "type": "object",
                "properties": {"prefer": {"enum": ["cheapest", "fastest", "none"]}},
            },
        },
    },
}
_DECISION = {
    "type": "object",
    "required": ["model", "models", "route", "trace_id", "pinned", "switched", "reason"],
    "properties": {
        "model": {"type": "string", "description": "The first of `models`; `none` when nothing matched."},
        "models": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "route": {"type": ["string", "null"]},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "session_id": {"type": "string"},
        "pinned": {"type": "boolean"},
        "switched": {"type": "boolean"},
        "reason": {"type": "string"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object", "required": ["message"]}}}
_FORMATS = {
    "/v1/messages": ("Anthropic Messages", "messages"),
    "/v1/chat/completions": ("OpenAI Chat Completions", "messages"),
    "/v1/responses": ("OpenAI Responses", "input"),
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for path, (title, content) in _FORMATS.items():
        paths[path] = {"post": _chat(title, content)}
        paths[f"/routing{path}"] = {"post": _decision(title, content)}
    paths["/v1/messages/count_tokens"] = {"post": _count()}
    paths["/v1/models"] = {"get": _get("The models on offer", "application/json", {"type": "object"})}
    for path, told in (("/healthz", "Whether the process answers"), ("/readyz", "What does not work at present")):
        paths[path] = {"get": _get(told, "application/json", {"type": "object", "required": ["status"]})}
    paths["/metrics"] = {"get": _get("Prometheus metrics", "text/plain", {"type": "string"})}
    info = {
        "title": "harness gateway",
        "version": __version__,
        "description": "One endpoint, every client, the right model.",
    }
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _body(content: str) -> dict[str, Any]:
    turns: dict[str, Any] = {"oneOf": [{"type": "string"}, _TURNS]} if content == "input" else _TURNS
    properties = {
        "model": {"type": "string"},
        content: turns,
        "stream": {"type": "boolean"},
        "routing_preferences": _ROUTES,
    }
    schema = {"type": "object", "required": [content], "properties": properties, "additionalProperties": True}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    told = {400: "The request is wrong, or cannot be translated; the message names the field", 401: "No valid token",
            404: "No such model", 413: "The body is too large", 415: "The content-encoding is not supported",
            429: "A limit is reached; see Retry-After", 502: "No model could be reached"}  # fmt: skip
    return {str(status): {"description": told[status], "content": {"application/json": {"schema": _ERROR}}}
            for status in statuses}  # fmt: skip


def _chat(title: str, content: str) -> dict[str, Any]:
    headers = {
        name: {"schema": {"type": "string"}} for name in ("x-harness-model", "x-harness-route", "x-harness-reason")
    }
    ok = {"description": f"The model's answer as {title}, whole or as server-sent events", "headers": headers}
    return {"summary": f"{title}, routed", "requestBody": _body(content),
            "responses": {"200": ok, **_refusals(400, 401, 404, 413, 415, 429, 502)}}  # fmt: skip


def _decision(title: str, content: str) -> dict[str, Any]:
    ok = {"description": "The decision", "content": {"application/json": {"schema": _DECISION}}}
    return {"summary": f"Which model a {title} request would go to", "requestBody": _body(content),
            "responses": {"200": ok, **_refusals(400, 401, 413, 415)}}  # fmt: skip


def _count() -> dict[str, Any]:
    schema = {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": {"type": "integer"}}}
    ok = {"description": "An estimate", "content": {"application/json": {"schema": schema}}}
    return {"summary": "Input tokens, estimated", "requestBody": _body("messages"),
            "responses": {"200": ok, **_refusals(400, 401, 413, 415)}}  # fmt: skip


def _get(summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {"schema": schema}}}}}
