"""One model's version of a request: where it goes, with which headers and key, in which format."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import orjson

from harness.config.targets import Target, WireName
from harness.gateway.body import with_model
from harness.gateway.exchange import CREDENTIALS, HOP_BY_HOP, OURS, Asked, credential
from harness.gateway.refusal import Refusal
from harness.gateway.translate import Translation
from harness.gateway.translate.messages import FOREIGN_SIGNATURE

HOME: dict[WireName, str] = {"messages": "anthropic", "chat": "openai", "responses": "openai"}
"""Whose credential a client of each wire format carries."""


_FOREIGN = re.compile(rb'"signature"\s*:\s*"' + FOREIGN_SIGNATURE.encode() + b'"')


@dataclass(slots=True)
class Sendable:
    """One model's version of the request."""

    target: Target
    url: str
    headers: dict[str, str]
    body: bytes
    translation: Translation | None


def prepare(asked: Asked, target: Target, via: str) -> Sendable:
    """The request as this model's provider wants it; raises Refusal when it cannot be said there."""
    form: WireName = asked.form if asked.form in target.urls else target.format
    if form == asked.form:
        if form == "messages" and _FOREIGN.search(asked.raw):
            asked = _without_foreign_thoughts(asked)
        body = asked.raw if asked.model == target.model else with_model(asked.raw, asked.body, target.model)
        change = None
    else:
        change = Translation(asked.form, form, {"model": "", **asked.body}, target.model)
        body = change.request
    url = target.urls[form] + (
        f"?{asked.query}" if asked.query and change is None and "?" not in target.urls[form] else ""
    )
    return Sendable(target, url, _headers(asked, target, form, via), body, change)


def _without_foreign_thoughts(asked: Asked) -> Asked:
    """A session that changed vendors: thoughts that another vendor's model thought have no signature of Anthropic's."""
    rows = []
    for row in asked.body.get("messages") or ():
        content = row.get("content") if isinstance(row, dict) else None
        if isinstance(content, list):
            row = {**row, "content": [block for block in content if not _is_foreign(block)]}
            if content and not row["content"]:
                continue
        rows.append(row)
    body = {**asked.body, "messages": rows}
    return replace(asked, body=body, raw=orjson.dumps(body))


def _is_foreign(block: Any) -> bool:
    return isinstance(block, dict) and block.get("signature") == FOREIGN_SIGNATURE


def _headers(asked: Asked, target: Target, form: WireName, via: str) -> dict[str, str]:
    same = form == asked.form
    headers = {"accept-encoding": "identity", "via": via}
    for name, value in asked.headers.items():
        foreign = not same and name.startswith(("anthropic-", "openai-", "x-stainless-", "x-claude-", "x-codex-"))
        if name not in HOP_BY_HOP and name not in CREDENTIALS and name not in OURS and not foreign:
            headers[name] = value
    headers["content-type"] = "application/json"  # whatever the client called it: it has been read as such
    if form == "messages":
        headers.setdefault("anthropic-version", "2023-06-01")
    headers |= _credentials(asked, target, form)
    headers |= {name.lower(): value.get_secret_value() for name, value in target.headers.items()}
    return headers


def _credentials(asked: Asked, target: Target, form: WireName) -> dict[str, str]:
    if target.api_key is not None:
        key = target.api_key.get_secret_value()
        if form == "messages" and target.provider == "anthropic" and not key.startswith("sk-ant-oat"):
            return {"x-api-key": key}
        return {"api-key": key} if target.provider == "azure_openai" else {"authorization": f"Bearer {key}"}
    if target.missing_key is not None:
        raise Refusal(401, f"{target.name}: {target.missing_key} is not set where the gateway runs")
    if not target.passthrough_auth and target.provider != HOME[asked.form]:
        return {}
    if form == asked.form == "messages":
        return {name: asked.headers[name] for name in ("authorization", "x-api-key") if asked.headers.get(name)}
    given = credential(asked.headers)
    return {"authorization": f"Bearer {given}"} if given else {}
