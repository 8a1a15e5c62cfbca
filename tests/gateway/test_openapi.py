"""The OpenAPI document is true: whatever fits it, or breaks it, gets an answer that it describes, and no 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from harness.gateway.openapi import document
from tests.gateway.running import RunningGateway, upstream
from tests.wire.server import WireServer

ROUTES = [{"name": "code", "description": "writing code", "models": ["anthropic/claude-haiku-5-5"]}]
schema: Any = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with WireServer(lambda request: {"text": "ok"}) as wire:
        section = {"models": upstream(wire.url), "routes": ROUTES, "scenarios": {"chains": {"think": ["openai/gpt-x"]}}}
        with RunningGateway(section) as running:
            yield running


@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_5xx(gateway: RunningGateway, case: Any) -> None:
    given = case.as_transport_kwargs(base_url=gateway.url)
    content = {name: given[name] for name in ("json", "data") if given.get(name) is not None}
    if "data" in content:
        content["content"] = content.pop("data")
    headers = {name: value for name, value in (given.get("headers") or {}).items() if value.isascii()}
    reply = httpx2.request(given["method"], given["url"], headers=headers, **content)
    assert reply.status_code < 500, reply.text
    told = document()["paths"][case.path].get(given["method"].lower())
    if told is None:
        assert reply.status_code in (405, 426) or given["method"] == "HEAD"
        return
    assert str(reply.status_code) in told["responses"], (reply.status_code, reply.text)
    described = told["responses"][str(reply.status_code)].get("content", {})
    if "application/json" in described:
        Draft202012Validator(described["application/json"]["schema"]).validate(reply.json())


def test_it_is_served(gateway: RunningGateway) -> None:
    assert httpx2.get(gateway.url + "/openapi.json").json() == document()
