"""Mode `policy`: models by description, stable over a session, never against an escalation."""

from __future__ import annotations

import pytest

from harness.budget import Meter
from harness.config.settings import Settings
from harness.models.build import build_client
from harness.models.policy import Policy
from harness.types import Message, Text, ToolResult
from tests.contracts.model_client import HAIKU, asks
from tests.wire import WireServer

PREFERENCES = [
    {
        "name": "database",
        "description": "writing and tuning SQL queries, schemas and database migrations",
        "examples": [
            "add an index to the users table",
            "why is this SELECT slow",
            "write a migration for the orders schema",
        ],
        "models": ["openai/gpt-6-mini"],
    },
    {
        "name": "security",
        "description": "security audits, vulnerabilities, authentication and cryptography",
        "examples": ["audit the login flow", "is this token check safe", "fix the SQL injection in the search form"],
        "tier": "opus",
    },
]
SQL = "Write a migration for the orders schema and add an index to the users table"


def settings(**data: object) -> Settings:
    return Settings.model_validate({"routing": {"mode": "policy", "preferences": PREFERENCES}, **data})


@pytest.mark.parametrize(("text", "tier", "model"), [
    (SQL, "haiku", "openai/gpt-6-mini"),
    ("Security audit of the login flow and its token check", "opus", "anthropic/claude-opus-5-5"),
    ("Bake a chocolate cake for the birthday party", "haiku", HAIKU.models[0]),
])  # fmt: skip
async def test_the_route_that_fits_names_the_pool(text: str, tier: str, model: str) -> None:
    pool = await Policy(settings())(asks(text=text))
    assert (pool.tier, pool.models[0]) == (tier, model)


async def test_a_session_stays_where_it_began_and_a_second_attempt_gets_what_it_asks_for() -> None:
    choose = Policy(settings())
    begun = asks(text=SQL)
    later = (
        *begun.messages,
        Message(role="user", content=(ToolResult(id="u", content="x"), Text(text="audit login token"))),
    )
    assert (await choose(begun.model_copy(update={"messages": later, "turn": 5}))).models == ("openai/gpt-6-mini",)
    assert await choose(begun.model_copy(update={"attempt": 2})) == HAIKU


async def test_without_preferences_nothing_is_chosen() -> None:
    assert await Policy(Settings())(asks(text=SQL)) == HAIKU


async def test_the_client_of_the_mode_calls_the_chosen_model() -> None:
    with WireServer([{"text": "ok"}]) as server:
        client = build_client(settings(providers={"openai": {"base_url": f"{server.url}/v1"}}))
        reply = await client.complete(asks(text=SQL), Meter())
        assert reply.model == "openai/gpt-6-mini" and server.calls[0].body["model"] == "gpt-6-mini"
        await client.aclose()
