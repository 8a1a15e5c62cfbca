"""The pool: retries, waits, falling back, cooling down, stopping, limits and accounting, on real wires."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import (
    BudgetExceeded,
    ModelAuthError,
    ModelNonsense,
    ModelRequestError,
    ModelUnavailable,
    UnknownName,
)
from harness.models.client import PooledModelClient
from harness.types import Budget, ModelReply, ModelRequest, TierPool
from tests.contracts.model_client import HAIKU, SCHEMA, asks
from tests.wire import WireServer

TWO = TierPool(tier="haiku", models=("anthropic/claude-haiku-5-5", "openai/gpt-6-mini"))
BUSY = {"error": {"kind": "unavailable"}}


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


def client_of(
    clock: Clock, first: str, second: str = "", variables: Mapping[str, str] | None = None, **models: Any
) -> PooledModelClient:
    settings = Settings.model_validate(
        {
            "providers": {
                "anthropic": {"base_url": first, "api_key": "sk-ant-0123456789abcdefghij"},
                "openai": {"base_url": f"{second}/v1", "api_key": "sk-proj-0123456789abcdefghij"},
            },
            "models": {"retries": 2, **models},
        }
    )
    return PooledModelClient(settings, variables=variables or {}, sleep=clock.sleep, clock=clock, jitter=lambda: 0.5)


async def once(
    answers: Any, ask: Callable[[PooledModelClient], Any] | None = None, clock: Clock | None = None, **models: Any
) -> tuple[ModelReply, WireServer, Clock]:
    """One call to a server that answers so."""
    clock = clock or Clock()
    with WireServer(answers) as server:
        client = client_of(clock, server.url, **models)
        try:
            reply = await (ask(client) if ask else client.complete(asks(), Meter()))
        finally:
            await client.aclose()
    return reply, server, clock


class TestRetries:
    async def test_a_busy_model_is_asked_again_after_a_jittered_wait_that_doubles(self) -> None:
        reply, server, clock = await once([BUSY, BUSY, {"text": "ok"}])
        assert reply.text == "ok" and len(server.calls) == 3
        assert clock.slept == [0.25, 0.5]

    async def test_a_wait_is_as_long_as_the_provider_says(self) -> None:
        _, _, clock = await once([{"error": {"kind": "rate_limited", "retry_after": 7}}, {"text": "ok"}])
        assert clock.slept == [7.0]

    @pytest.mark.parametrize("kind", ["dies", "stream_error"])
    async def test_a_stream_that_breaks_is_asked_again_and_its_cost_counts(self, kind: str) -> None:
        meter = Meter()
        reply, server, _ = await once(
            [{"error": {"kind": kind}}, {"text": "ok"}], lambda client: client.complete(asks(), meter)
        )
        assert reply.text == "ok" and len(server.calls) == 2
        assert reply.call.usage.requests == meter.usage.requests == 2
        assert reply.call.usage.cache_read_tokens > 0, "the broken stream had written the cache"

    async def test_a_call_that_times_out_is_repeated_once_only(self) -> None:
        with pytest.raises(ModelUnavailable) as caught:
            await once([{"error": {"kind": "timeout"}}] * 3, timeout_seconds=0.3)
        assert "no answer within 0.3 s" in str(caught.value)

    async def test_unreadable_tool_arguments_are_asked_for_once_more(self) -> None:
        bad = JSONResponse(_completion('{"command": '))
        good = JSONResponse(_completion('{"command": "ls"}'))
        reply, server, _ = await _openai([bad, good])
        assert reply.tool_uses[0].input == {"command": "ls"} and len(server.calls) == 2
        assert reply.call.usage.requests == 2, "the unreadable answer was paid for"
        with pytest.raises(ModelNonsense, match="no JSON object"):
            await _openai([bad, bad, good])

    async def test_a_proxy_that_sends_a_page_is_an_outage(self) -> None:
        page = PlainTextResponse("<html>Bad Gateway</html>", 502)
        with pytest.raises(ModelUnavailable, match="502"):
            await once([page] * 3)
        with pytest.raises(ModelUnavailable):
            await _openai([PlainTextResponse("<html>hello</html>")] * 3)


class TestFallingBack:
    async def test_the_next_model_answers_and_the_first_cools_down(self) -> None:
        clock = Clock()
        with (
            WireServer([*[BUSY] * 3, {"text": "first again"}]) as first,
            WireServer([{"text": "a"}, {"text": "b"}]) as second,
        ):
            client = client_of(clock, first.url, second.url)
            reply = await client.complete(asks(pool=TWO), Meter())
            assert (reply.text, reply.model, reply.call.model) == ("a", TWO.models[1], TWO.models[1])
            assert "overloaded" in reply.metadata["warnings"][0] or "529" in reply.metadata["warnings"][0]
            reply = await client.complete(asks(pool=TWO), Meter())
            assert reply.text == "b" and len(first.calls) == 3, "the first is passed over while it cools down"
            clock.now += 31
            assert (await client.complete(asks(pool=TWO), Meter())).text == "first again"
            await client.aclose()

    async def test_a_long_retry_after_means_the_next_model_and_no_wait(self) -> None:
        clock = Clock()
        with (
            WireServer([{"error": {"kind": "rate_limited", "retry_after": 600}}]) as first,
            WireServer([{"text": "a"}]) as second,
        ):
            client = client_of(clock, first.url, second.url)
            assert (await client.complete(asks(pool=TWO), Meter())).text == "a"
            assert clock.slept == [] and len(first.calls) == 1
            await client.aclose()

    async def test_a_model_that_is_not_there_is_passed_over_with_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with WireServer([{"error": {"kind": "not_found"}}]) as first, WireServer([{"text": "a"}]) as second:
            client = client_of(Clock(), first.url, second.url)
            with caplog.at_level(logging.WARNING):
                reply = await client.complete(asks(pool=TWO), Meter())
            assert reply.text == "a" and len(first.calls) == 1
            assert "claude-haiku-5-5" in reply.metadata["warnings"][0] and "passed over" in caplog.text
            await client.aclose()

    async def test_no_such_model_anywhere_names_the_setting(self) -> None:
        with pytest.raises(ModelRequestError, match="no such model") as caught:
            await once([{"error": {"kind": "not_found"}}])
        assert "tiers > haiku" in str(caught.value.hint)

    async def test_an_account_without_credit_is_passed_over_for_long(self) -> None:
        broke = JSONResponse({"type": "error", "error": {"type": "billing_error", "message": "no credit"}}, 402)
        clock = Clock()
        with WireServer([broke]) as first, WireServer([{"text": "a"}, {"text": "b"}]) as second:
            client = client_of(clock, first.url, second.url)
            assert (await client.complete(asks(pool=TWO), Meter())).text == "a"
            clock.now += 600
            assert (await client.complete(asks(pool=TWO), Meter())).text == "b" and len(first.calls) == 1
            await client.aclose()
        with pytest.raises(ModelAuthError, match="out of credit"):
            await once([broke])

    async def test_nobody_there_is_an_outage_that_tells_every_models_last_words(self) -> None:
        client = client_of(Clock(), "http://127.0.0.1:9", "http://127.0.0.1:9")
        with pytest.raises(ModelUnavailable) as caught:
            await client.complete(asks(pool=TWO), Meter())
        assert all(f"{model}: cannot reach" in str(caught.value) for model in TWO.models)
        assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 30
        await client.aclose()

    async def test_a_pool_that_cools_down_is_waited_for(self) -> None:
        clock = Clock()
        with WireServer([*[BUSY] * 3, {"text": "back"}]) as server:
            client = client_of(clock, server.url)
            with pytest.raises(ModelUnavailable):
                await client.complete(asks(), Meter())
            assert (await client.complete(asks(), Meter())).text == "back"
            assert clock.slept[-1] == pytest.approx(30)
            await client.aclose()

    async def test_a_pool_that_cools_down_for_long_is_an_outage_at_once(self) -> None:
        with WireServer([{"error": {"kind": "rate_limited", "retry_after": 600}}]) as server:
            client = client_of(Clock(), server.url)
            for _ in range(2):
                with pytest.raises(ModelUnavailable) as caught:
                    await client.complete(asks(), Meter())
                assert caught.value.retry_after == pytest.approx(600)
            assert len(server.calls) == 1
            await client.aclose()


class TestStopping:
    async def test_a_refused_key_stops_the_pool(self) -> None:
        with WireServer([{"error": {"kind": "auth"}}]) as first, WireServer([{"text": "never"}]) as second:
            client = client_of(Clock(), first.url, second.url)
            with pytest.raises(ModelAuthError, match="anthropic refused the key") as caught:
                await client.complete(asks(pool=TWO), Meter())
            assert "export ANTHROPIC_API_KEY" in str(caught.value.hint)
            assert len(first.calls) == 1 and not second.calls
            await client.aclose()

    @pytest.mark.parametrize(("model", "variable"), [
        ("anthropic/claude-haiku-5-5", "ANTHROPIC_API_KEY"), ("openai/gpt-6-mini", "OPENAI_API_KEY"),
        ("groq/llama-4", "GROQ_API_KEY"),
    ])  # fmt: skip
    async def test_a_missing_key_names_its_variable_and_calls_nobody(self, model: str, variable: str) -> None:
        client = PooledModelClient(Settings(), variables={})
        with pytest.raises(ModelAuthError, match="there is no key") as caught:
            await client.complete(asks(pool=TierPool(tier="haiku", models=(model,))), Meter())
        assert f"export {variable}=" in str(caught.value.hint)
        await client.aclose()

    async def test_an_unknown_provider_is_a_mistake_with_a_suggestion(self) -> None:
        client = PooledModelClient(Settings(), variables={})
        with pytest.raises(UnknownName, match="did you mean 'anthropic'"):
            await client.complete(asks(pool=TierPool(tier="haiku", models=("antropic/claude",))), Meter())

    async def test_a_request_that_every_model_would_refuse_is_not_sent_twice(self) -> None:
        with WireServer([{"error": {"kind": "bad_request"}}]) as first, WireServer([{"text": "never"}]) as second:
            client = client_of(Clock(), first.url, second.url)
            with pytest.raises(ModelRequestError, match="refused the request"):
                await client.complete(asks(pool=TWO), Meter())
            assert len(first.calls) == 1 and not second.calls
            await client.aclose()

    async def test_keys_are_in_no_error_and_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        key = "sk-ant-0123456789abcdefghij"
        echo = {"error": {"kind": "auth", "message": f"invalid x-api-key: {key}"}}
        busy = {"error": {"kind": "unavailable", "message": f"busy, {key}"}}
        with caplog.at_level(logging.DEBUG, "harness"):
            for answer in (echo, busy):
                with pytest.raises((ModelAuthError, ModelUnavailable)) as caught:
                    await once([answer] * 3)
                assert key not in str(caught.value)
        assert key not in caplog.text

    async def test_a_budget_that_runs_out_between_retries_stops_them(self) -> None:
        meter = Meter(Budget(calls=1))
        with pytest.raises(BudgetExceeded):
            await once([{"error": {"kind": "dies"}}, {"text": "never"}], lambda client: client.complete(asks(), meter))
        assert meter.usage.requests == 1


class TestLimits:
    async def test_calls_in_flight_are_bounded_over_all_tasks(self) -> None:
        with WireServer(lambda request: {"text": "ok", "seconds": 0.15}) as server:
            client = client_of(Clock(), server.url, max_concurrent=2)
            await client.complete(asks(), Meter())  # the SDK is imported
            async with anyio.create_task_group() as group:
                for number in range(6):
                    group.start_soon(client.complete, asks(f"t{number}"), Meter())
            times = sorted(call.at for call in server.calls[1:])
            assert all(later - earlier > 0.1 for earlier, later in zip(times, times[2:], strict=False))
            await client.aclose()

    async def test_a_waiting_call_holds_no_slot(self) -> None:
        clock = Clock()
        asleep = anyio.Event()

        async def sleep(seconds: float) -> None:
            asleep.set()
            await anyio.sleep_forever()

        clock.sleep = sleep  # type: ignore[method-assign]  # a fake of a fake
        script = [BUSY, {"text": "ok"}]
        with WireServer(script) as server:
            client = client_of(clock, server.url, max_concurrent=1)
            async with anyio.create_task_group() as group:
                group.start_soon(client.complete, asks(), Meter())
                await asleep.wait()
                assert (await client.complete(asks("t2"), Meter())).text == "ok"
                group.cancel_scope.cancel()
            await client.aclose()

    async def test_policy_chooses_the_pool(self) -> None:
        async def choose(request: ModelRequest) -> TierPool:
            return TierPool(tier=request.pool.tier, models=("anthropic/claude-opus-5-5",))

        with WireServer([{"text": "ok"}]) as server:
            settings = Settings.model_validate({"providers": {"anthropic": {"base_url": server.url}}})
            client = PooledModelClient(settings, variables={}, choose=choose)
            reply = await client.complete(asks(), Meter())
            assert reply.model == "anthropic/claude-opus-5-5" and server.calls[0].body["model"] == "claude-opus-5-5"
            await client.aclose()


class TestServersThatLack:
    @pytest.mark.parametrize("shape", ["anthropic", "openai", "openai_responses"])
    async def test_structured_output_is_done_another_way_and_remembered(self, shape: str) -> None:
        answer = {"summary": "s", "tasks": [{"id": "t1"}]}
        with WireServer(lambda request: {"json": answer}, lacks=["structured"]) as server:
            client = _over(server, shape)
            for _ in range(2):
                reply = await client.complete(asks(tools=(), answer_schema=SCHEMA, phase="plan"), Meter())
                assert json.loads(reply.text) == answer and reply.stop_reason == "end"
            assert len(server.calls) == 3, "the refusal is remembered"
            await client.aclose()

    @pytest.mark.parametrize("tokens", [100, 8192])
    async def test_usage_that_is_not_told_is_estimated_and_its_price_unknown(self, tokens: int) -> None:
        with WireServer([{"text": "hello there"}], lacks=["usage"]) as server:
            client, meter = _over(server, "openai"), Meter()
            reply = await client.complete(asks(max_output_tokens=tokens), meter)
            assert reply.call.usage.unpriced_requests == 1 and reply.call.usage.cost_usd == 0
            assert reply.call.usage.input_tokens > 2000 and reply.metadata["usage_estimated"] is True
            assert meter.usage == reply.call.usage
            await client.aclose()

    async def test_a_refused_parameter_is_replaced_and_remembered(self) -> None:
        def picky(request: Any) -> Any:
            if "max_tokens" in request.body:
                said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
                return JSONResponse({"error": {"message": said, "type": "invalid_request_error"}}, 400)
            return {"text": "ok"}

        with WireServer(picky) as server:
            client = _over(server, "openai")
            for _ in range(2):
                assert (await client.complete(asks(), Meter())).text == "ok"
            assert len(server.calls) == 3 and server.calls[-1].body["max_completion_tokens"] == 8192
            await client.aclose()

    @pytest.mark.parametrize("shape", ["openai", "openai_responses"])
    async def test_short_answers_are_sent_whole_and_long_ones_streamed(self, shape: str) -> None:
        with WireServer([{"text": "whole"}, {"text": "streamed"}]) as server:
            client = _over(server, shape)
            for tokens, text in ((100, "whole"), (8192, "streamed")):
                reply = await client.complete(asks(max_output_tokens=tokens), Meter())
                assert reply.text == text and reply.call.usage.total_input > 2000
            assert [call.body.get("stream", False) for call in server.calls] == [False, True]
            await client.aclose()

    @pytest.mark.parametrize("shape", ["openai", "openai_responses"])
    @pytest.mark.parametrize("kind", ["dies", "stream_error"])
    async def test_their_streams_may_break_too(self, shape: str, kind: str) -> None:
        with WireServer([{"error": {"kind": kind}}, {"text": "ok"}]) as server:
            client = _over(server, shape)
            assert (await client.complete(asks(), Meter())).text == "ok" and len(server.calls) == 2
            await client.aclose()


class TestHeaders:
    @pytest.mark.parametrize("shape", ["anthropic", "openai", "openai_responses"])
    async def test_every_call_carries_its_session_and_its_place(self, shape: str) -> None:
        with WireServer([{"text": "ok"}]) as server:
            client = _over(server, shape)
            await client.complete(asks(issue_id="bd-1\r\nX-Evil: 1"), Meter())
            headers = server.calls[0].headers
            assert headers["x-model-affinity"] == "r1/t1/0" and "x-evil" not in headers
            assert headers["x-harness-call"].startswith("phase=execute; issue=bd-1__X-Evil:_1; task=t1; tier=haiku")
            assert headers["authorization"] == "Bearer test-key"
            await client.aclose()

    async def test_base_urls_and_keys_come_from_the_environment(self) -> None:
        with WireServer([{"text": "a"}, {"text": "b"}], key="from-the-environment") as server:
            variables = {
                "ANTHROPIC_BASE_URL": server.url,
                "ANTHROPIC_API_KEY": "from-the-environment",
                "OPENAI_BASE_URL": f"{server.url}/v1",
                "OPENAI_API_KEY": "from-the-environment",
            }
            client = PooledModelClient(Settings(), variables=variables)
            assert (await client.complete(asks(), Meter())).text == "a"
            assert (
                await client.complete(asks(pool=TierPool(tier="haiku", models=TWO.models[1:])), Meter())
            ).text == "b"
            assert [call.path for call in server.calls] == ["/v1/messages", "/v1/chat/completions"]
            await client.aclose()


def _over(server: WireServer, shape: str) -> PooledModelClient:
    row = {"base_url": f"{server.url}/v1", "format": shape, "api_key": "test-key"}
    settings = Settings.model_validate({"providers": {HAIKU.models[0].split("/")[0]: row}, "models": {"retries": 1}})
    return PooledModelClient(settings, variables={}, sleep=Clock().sleep)


async def _openai(answers: list[Any]) -> tuple[ModelReply, WireServer, Clock]:
    clock = Clock()
    with WireServer(answers) as server:
        client = client_of(clock, "", server.url)
        try:
            pool = TierPool(tier="haiku", models=TWO.models[1:])
            reply = await client.complete(asks(pool=pool, max_output_tokens=1000), Meter())
        finally:
            await client.aclose()
    return reply, server, clock


def _completion(arguments: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-6-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
