"""Plano's recorded behaviour at its HTTP face and in its configuration, against the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from harness.config.gateway import build
from harness.config.gateway_section import GatewaySettings
from harness.config.plano import kimi_base_url, plano_section
from harness.config.plano_file import PlanoFile
from harness.config.reading import expand, validate
from harness.config.settings import Settings
from harness.config.targets import endpoint, known_providers, resolve
from harness.errors import ConfigError
from harness.gateway.app import application, model_list
from harness.gateway.conversation import is_user_turn, turns
from harness.gateway.cooldown import Cooldown
from harness.gateway.decide import Decider
from harness.gateway.exchange import Asked, Decision, Record, credential
from harness.gateway.inline import inline_routes
from harness.gateway.ledger import Ledger
from harness.gateway.limits import RateLimiter
from harness.gateway.service import Gateway, decision_body
from harness.gateway.translate import Translation
from harness.gateway.upstream import Upstream
from harness.routing.affinity import Affinity, MemoryPins
from harness.routing.preferences import KeywordClassifier, RouteMatcher
from harness.routing.router_model import Answer, RouterModel
from harness.types import Usage
from tests.conformance import cases

KINDS = (
    "alias_resolution", "brightstaff_startup_validate", "client_credential", "config_migrate_v03_to_v04",
    "config_render", "config_validate", "extract_routing_preferences", "http.proxy_error",
    "http.routing_decision", "http.routing_decision_sequence", "is_user_turn", "kimi_base_url",
    "legacy_listeners", "list_models", "metrics_source_config", "obs_aggregates", "obs_rollups",
    "obs_route_hits", "prompt_caching_config", "provider_lookup", "ratelimit", "routing_config",
    "routing_decision_response", "translate.anthropic_to_chat", "translate.responses_to_chat", "upstream_path",
)  # fmt: skip
FORMS = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}
VARIABLES = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}


def read(config: Mapping[str, Any]) -> GatewaySettings:
    section, warnings = plano_section(config, "plano_config.yaml")
    return build(expand(section, VARIABLES, "plano"), Settings(), "plano_config.yaml", VARIABLES, warnings)


def as_written(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plano's rendered configuration (name and model apart) → as a person writes it."""
    rows = []
    for row in config.get("model_providers", ()):
        if row.get("internal"):
            continue
        name, interface = row["name"], row.get("provider_interface", "openai")
        model = row["model"] if row["model"] != "*" else name
        full = name if "/" in name else f"{interface}/{model}"
        rows.append({"model": full, **({"name": name} if name != full else {}), "access_key": "k"})
    known = known_providers()
    for row in rows:
        if row["model"].split("/")[0] not in known:
            row |= {"base_url": "http://localhost:1/v1", "provider_interface": "openai"}
    listeners = config.get("listeners") or [{"type": "model", "name": "m", "port": 12000}]
    return {**config, "version": config.get("version", "v0.4.0"), "listeners": listeners, "model_providers": rows}


@pytest.mark.parametrize("case", cases.of("config_validate"))
def test_config_validate(case: dict[str, Any]) -> None:
    if case["expected"]["valid"]:
        assert read(case["config"]).targets
    else:
        with pytest.raises(ConfigError):
            read(case["config"])


@pytest.mark.parametrize("case", cases.of("brightstaff_startup_validate"))
def test_refused_at_start(case: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        read(as_written(case["config"]))


@pytest.mark.parametrize("case", cases.of("config_migrate_v03_to_v04"))
def test_inline_preferences_move_up(case: dict[str, Any]) -> None:
    expected = case["expected"]
    if "error_contains" in expected:
        with pytest.raises(ConfigError, match=expected["error_contains"]):
            read(case["config"])
        return
    built = read(case["config"])
    got = [{"name": r.name, "description": r.description, "models": list(r.models)} for r in built.section.routes]
    assert (got or None) == expected["routing_preferences"]


@pytest.mark.parametrize("case", cases.of("config_render"))
def test_a_router_model_of_ones_own(case: dict[str, Any]) -> None:
    rendered = {row["name"]: row for row in case["expected"]["model_providers"]}
    row, built = rendered["plano/Plano-Orchestrator"], read(case["config"])
    found = built.section.router_model
    assert found is not None and found.model == row["model"]
    assert urlsplit(found.base_url)[:2] == (row["protocol"], f"{row['endpoint']}:{row['port']}")
    assert built.targets["plano/Plano-Orchestrator"].internal


@pytest.mark.parametrize("case", cases.of("alias_resolution", "provider_lookup"))
def test_names(case: dict[str, Any]) -> None:
    expected, wanted = case["expected"], case["input"].get("model") or case["input"].get("name")
    if case["kind"] == "alias_resolution":
        aliases = {name: row["target"] for name, row in case["config"]["model_aliases"].items()}
        assert aliases.get(wanted, wanted) == expected["resolved"]
        built = build({"models": ["openai/gpt-5.4", "openai/b"], "aliases": aliases}, Settings(), "t", {})
        found = Decider(built, {}, None, None, None, Cooldown(0)).target(wanted)
        assert (found.name if found else wanted).partition("/")[2] == expected["resolved"].partition("/")[2]
        return
    target = resolve(read(as_written(case["config"])).targets, wanted)
    if expected.get("found") is False:
        assert target is None
    else:
        assert target is not None
        assert {"name": target.name, "model": target.model}.items() >= expected.items()


@pytest.mark.parametrize("case", cases.of("client_credential"))
def test_client_credential(case: dict[str, Any]) -> None:
    given = {"authorization": case["input"]["authorization"], "x-api-key": case["input"]["x_api_key"]}
    assert (
        credential({name: value for name, value in given.items() if value is not None})
        == case["expected"]["credential"]
    )


@pytest.mark.parametrize("case", cases.of("kimi_base_url"))
def test_kimi(case: dict[str, Any]) -> None:
    assert kimi_base_url(case["input"]["base_url"]) == case["expected"]["base_url"]


@pytest.mark.parametrize("case", cases.of("legacy_listeners"))
def test_legacy_listeners(case: dict[str, Any]) -> None:
    built = read({"version": "v0.1.0", **case["input"]})
    assert built.section.port == case["expected"]["listeners"][0]["port"]
    assert list(built.targets) == [row["model"] for row in case["expected"]["listeners"][0]["model_providers"]]


@pytest.mark.parametrize("case", cases.of("list_models"))
def test_internal_models_are_not_listed(case: dict[str, Any]) -> None:
    gateway = gateway_for(as_written(case["config"]), lambda: None)
    assert [row["id"] for row in model_list(gateway)["data"]] == case["expected"]["ids"]


@pytest.mark.parametrize("case", cases.of("routing_config", "prompt_caching_config", "metrics_source_config"))
def test_parts_of_the_file(case: dict[str, Any]) -> None:
    key = {"routing_config": "routing", "prompt_caching_config": "prompt_caching"}.get(
        case["kind"], "model_metrics_sources"
    )
    part = case.get("config")
    rows = {"version": "v0.4.0", "listeners": [], **({key: part} if part else {})}
    file: PlanoFile = validate(PlanoFile, rows, "plano_config.yaml")
    got = getattr(file, key)
    got = {"url": None, **got[0]} if isinstance(got, tuple) else got.model_dump()
    if not got.get("enabled", True):  # nothing of it counts
        got |= {"session_affinity": False, "inject_cache_control": False}
    assert got.items() >= case["expected"].items()


@pytest.mark.parametrize("case", cases.of("is_user_turn"))
def test_is_user_turn(case: dict[str, Any]) -> None:
    form: Any = FORMS[case["request"]["path"]]
    asked = Asked(form, b"", case["request"]["body"], {})
    assert is_user_turn(turns(asked)) is case["expected"]["is_user_turn"]


@pytest.mark.parametrize("case", cases.of("extract_routing_preferences"))
def test_preferences_in_the_request(case: dict[str, Any]) -> None:
    expected, found = case["expected"], inline_routes(case["request"]["body"])
    if expected.get("preferences", ...) is None:
        assert found is None
        return
    assert found is not None
    assert expected.get("preferences_count", len(found)) == len(found)
    for row, route in zip(expected.get("preferences", ()), found, strict=False):
        assert (route.name, list(route.models), route.prefer) == (row["name"], row["models"], row["prefer"])
    assert found[0].prefer == expected.get("prefer", found[0].prefer)


@pytest.mark.parametrize("case", cases.of("upstream_path"))
def test_upstream_path(case: dict[str, Any]) -> None:
    names = {"openai": "openai", "azureopenai": "azure_openai", "moonshotai": "moonshotai"}
    provider = names.get(case["input"]["provider"].lower(), case["input"]["provider"].lower())
    prefix = case["input"]["base_url_path_prefix"] or ""
    base = f"http://localhost/{prefix.lstrip('/')}"
    apis = {"OpenAIChatCompletions": "chat", "AnthropicMessagesAPI": "messages", "OpenAIResponsesAPI": "responses"}
    wanted: Any = apis[case["input"]["client_api"]]
    speaks = known_providers()[provider]["speaks"]
    form = wanted if wanted in speaks else speaks[0]
    parts = urlsplit(endpoint(base, form, provider, case["input"]["model"]))
    assert parts.path + (f"?{parts.query}" if parts.query else "") == case["expected"]["path"]


@pytest.mark.parametrize("case", cases.of("ratelimit"))
def test_ratelimit(case: dict[str, Any]) -> None:
    rows = [
        {
            "model": row["model"],
            "tokens": row["limit"]["tokens"],
            "per": row["limit"]["unit"],
            "header": row["selector"]["key"],
            "value": row["selector"].get("value"),
        }
        for row in case["config"]["ratelimits"]
    ]
    limiter = RateLimiter(build({"models": ["openai/*"], "rate_limits": rows}, Settings(), "t", {}).section.rate_limits)
    got = [
        limiter.take(model, {header: value}, tokens) is None for model, header, value, tokens in case["input"]["checks"]
    ]
    assert got == case["expected"]["allowed"]


@pytest.mark.parametrize("case", cases.of("translate.anthropic_to_chat", "translate.responses_to_chat"))
def test_translation(case: dict[str, Any]) -> None:
    form: Any = FORMS[case["request"]["path"]]
    body, expected = case["request"]["body"], dict(case["expected"])
    got = json.loads(Translation(form, "chat", body, body["model"]).request)
    if "message_count" in expected:
        assert len(got["messages"]) == expected.pop("message_count")
    if "tool_names" in expected:
        assert [tool["function"]["name"] for tool in got["tools"]] == expected.pop("tool_names")
        assert [tool["type"] for tool in got["tools"]] == expected.pop("tool_types")
    if "roles" in expected:
        assert [message["role"] for message in got["messages"]] == expected.pop("roles")
        call = got["messages"][1]["tool_calls"][0]
        assert {"id": call["id"], **call["function"]} == expected.pop("tool_call")
        assert got["messages"][2]["content"] == expected.pop("tool_content")
    if expected.get("stream") is False:  # saying nothing says the same
        expected.pop("stream")
    assert {name: got.get(name) for name in expected} == expected


class ScriptedRouter:
    """Answers a router model's requests with the reply that is set, and remembers the prompts."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] = {}
        self.prompts: list[str] = []

    async def post(self, body: dict[str, Any]) -> Answer:
        self.prompts.append(body["messages"][0]["content"])
        if "content" in self.reply:
            document = {"choices": [{"message": {"content": self.reply["content"]}}]}
            return Answer(status=200, body=json.dumps(document).encode())
        raise OSError("refused")


def gateway_for(config: Mapping[str, Any], now: Any, router: ScriptedRouter | None = None) -> Gateway:
    built = read(config)
    model = RouterModel("router", router.post) if router else None
    matcher = RouteMatcher(model=model, classifier=KeywordClassifier)
    affinity = Affinity(MemoryPins(built.section.session.ttl_seconds, clock=now), clock=now)
    cooldown = Cooldown(30)
    decider = Decider(built, {}, matcher, affinity, None, cooldown)
    return Gateway(built, decider, Upstream(built.section.limits), cooldown, Ledger())


async def send(gateway: Gateway, request: Mapping[str, Any]) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=application(gateway))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        content = request["raw_body"].encode() if "raw_body" in request else json.dumps(request["body"]).encode()
        return await client.request(request["method"], request["path"], headers=request["headers"], content=content)


def same(reply: httpx2.Response, expected: Mapping[str, Any]) -> None:
    assert reply.status_code == expected["status"], reply.text
    got = reply.json()
    assert {name: got.get(name) for name in expected["json"]} == expected["json"]
    assert got["model"] == got["models"][0]


@pytest.mark.parametrize("case", cases.of("http.routing_decision"))
async def test_decision(case: dict[str, Any]) -> None:
    router = ScriptedRouter()
    router.reply = case["input"]["router_reply"]
    reply = await send(gateway_for(as_written(case["config"]), lambda: 0.0, router), case["request"])
    expected = case["expected"]
    same(reply, expected)
    if expected.get("router_called") is False:
        assert not router.prompts
    for text in expected.get("router_prompt_contains", ()):
        assert text in router.prompts[0]
    for text in expected.get("router_prompt_not_contains", ()):
        assert text not in router.prompts[0]


@pytest.mark.parametrize("case", cases.of("http.routing_decision_sequence"))
async def test_decisions_in_a_session(case: dict[str, Any]) -> None:
    router, clock = ScriptedRouter(), [0.0]
    gateway = gateway_for(as_written(case["config"]), lambda: clock[0], router)
    for step in case["input"]["steps"]:
        clock[0] += step["wait_seconds"]
        router.reply = step["router_reply"]
        same(await send(gateway, step["request"]), step["expected"])


@pytest.mark.parametrize("case", cases.of("http.proxy_error"))
async def test_proxy_error(case: dict[str, Any]) -> None:
    reply = await send(gateway_for(as_written(case["config"]), lambda: 0.0), case["request"])
    assert reply.status_code == case["expected"]["status"], reply.text
    assert "error" in reply.json()


def recorded(case: dict[str, Any]) -> Ledger:
    ledger = Ledger()
    for call in case["input"].get("calls", ()):
        usage = Usage(
            requests=1,
            input_tokens=call["prompt"],
            output_tokens=call["completion"],
            cache_read_tokens=call.get("cache_read", 0),
            cache_write_5m_tokens=call.get("cache_write", 0),
        )
        session, usd = call.get("session"), str(call["cost"])
        ledger.add(Record("m", "chat", model=call["model"], usage=usage, usd=usd, session=session, status=200))
    return ledger


@pytest.mark.parametrize("case", cases.of("obs_aggregates", "obs_rollups"))
def test_what_the_ledger_adds_up(case: dict[str, Any]) -> None:
    """Sums are kept by model; the page adds them."""
    totals = recorded(case).by_model
    expected = case["expected"]
    if case["kind"] == "obs_aggregates":
        assert sum(t.requests for t in totals.values()) == expected["count"]
        assert float(sum(t.usd for t in totals.values())) == expected["total_cost_usd"]
        assert sum(t.input_tokens for t in totals.values()) == expected["total_input_tokens"]
        assert sum(t.output_tokens for t in totals.values()) == expected["total_output_tokens"]
        return
    names = {"cache_read": "cache_read_tokens", "cache_write": "cache_write_tokens"}
    for model, row in expected.items():
        assert {name: getattr(totals[model], names.get(name, name)) for name in row} == row


@pytest.mark.parametrize("case", cases.of("obs_route_hits"))
def test_routes_are_counted(case: dict[str, Any]) -> None:
    ledger = Ledger()
    for route in case["input"]["routes"]:
        ledger.add(Record("m", "chat", route=route, status=200))
    assert sum(count for route, count in ledger.decisions.items() if route != "none") == case["expected"]["total"]


@pytest.mark.parametrize("case", cases.of("routing_decision_response"))
def test_the_decisions_fields(case: dict[str, Any]) -> None:
    given = case["input"]
    decision = Decision(
        (), given["route"], "", tuple(given["models"]), None, given["session_id"], given["pinned"], given["switched"]
    )
    got = json.loads(json.dumps(decision_body(decision, given["trace_id"])))
    assert {name: got[name] for name in case["expected"]["json"]} == case["expected"]["json"]
