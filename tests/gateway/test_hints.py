"""What a client only hints at, and a translated request carries, does not keep a model from answering."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse

from tests.gateway.running import RunningGateway, upstream
from tests.wire.server import WireRequest, WireServer

CLAUDE: dict[str, Any] = {
    "model": "openai/gpt-4o-mini", "max_tokens": 32_000, "output_config": {"effort": "high"},
    "messages": [{"role": "user", "content": "x"}],
}  # fmt: skip


class Fussy:
    """Refuses fields with the words of a vendor: `refusals` is field → (largest value or None, error body)."""

    def __init__(self, **refusals: tuple[int | None, dict[str, Any]]) -> None:
        self._refusals = refusals

    def __call__(self, request: WireRequest) -> Any:
        for name, (largest, told) in self._refusals.items():
            if name in request.body and (largest is None or request.body[name] > largest):
                return JSONResponse(told, 422 if "detail" in told else 400)
        return {"text": "ok"}


NO_EFFORT = {"error": {"message": "Unrecognized request argument supplied: reasoning_effort", "param": None}}
TOO_LONG = {"error": {"message": "max_tokens is too large: 32000. This model supports at most 16384 completion tokens"}}
NO_SUCH = {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs"}]}


def ask(gateway: RunningGateway, **changes: Any) -> httpx2.Response:
    return httpx2.post(gateway.url + "/v1/messages", json={**CLAUDE, **changes}, timeout=10)


def test_what_a_model_refuses_is_left_out_named_and_not_tried_again() -> None:
    fussy = Fussy(reasoning_effort=(None, NO_EFFORT), max_completion_tokens=(16_384, TOO_LONG))
    with WireServer(fussy) as wire, RunningGateway({"models": upstream(wire.url)}) as gateway:
        reply = ask(gateway)
        assert reply.status_code == 200 and reply.json()["content"][0]["text"] == "ok", reply.text
        assert reply.headers["x-harness-dropped"] == "reasoning_effort, max_completion_tokens"
        assert len(wire.calls) == 3
        again = ask(gateway)
        assert len(wire.calls) == 4 and again.headers["x-harness-dropped"] == reply.headers["x-harness-dropped"]
        ask(gateway, max_tokens=9)
        assert wire.calls[-1].body["max_completion_tokens"] == 9, "a bound that fits is kept"


def test_a_bound_is_said_in_its_older_words_where_the_newer_are_unknown() -> None:
    with WireServer(Fussy(max_completion_tokens=(None, NO_SUCH))) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            assert ask(gateway).status_code == 200
            assert wire.calls[-1].body["max_tokens"] == 32_000


def test_claude_without_effort_answers_openais_clients() -> None:
    told = {"type": "error", "error": {"message": "This model does not support the effort parameter."}}
    with (
        WireServer(Fussy(output_config=(None, told))) as wire,
        RunningGateway({"models": upstream(wire.url)}) as gateway,
    ):
        body = {"model": "anthropic/m", "input": "x", "reasoning": {"effort": "medium"}}
        assert httpx2.post(gateway.url + "/v1/responses", json=body).status_code == 200


@pytest.mark.parametrize(
    "told", [{"error": {"message": "temperature: only 1 is supported"}}, {"error": {"message": "context too long"}}]
)
def test_other_mistakes_are_the_clients_to_see(told: dict[str, Any]) -> None:
    with WireServer(lambda request: JSONResponse(told, 400)) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            reply = ask(gateway)
            assert reply.status_code == 400 and reply.json()["error"]["message"] == told["error"]["message"]
            assert len(wire.calls) == 1


def test_what_passes_untouched_stays_so() -> None:
    told = {"error": {"message": "reasoning_effort is not supported"}}
    with WireServer(lambda request: JSONResponse(told, 400)) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            body = {"model": "openai/m", "reasoning_effort": "low", "messages": CLAUDE["messages"]}
            reply = httpx2.post(gateway.url + "/v1/chat/completions", json=body)
            assert reply.status_code == 400 and len(wire.calls) == 1
