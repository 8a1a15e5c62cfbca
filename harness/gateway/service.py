"""What the endpoints do with a request: read it within bounds, decide, carry, count, remember."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from decimal import Decimal
from typing import Any

import anyio
import anyio.to_thread
import orjson

from harness.config.gateway_section import GatewaySettings
from harness.config.targets import WireName
from harness.gateway.body import ClientGone, parse_object, read_body
from harness.gateway.conversation import estimated_tokens, items
from harness.gateway.cooldown import Cooldown
from harness.gateway.decide import Decider
from harness.gateway.exchange import Asked, Decision, Record, credential
from harness.gateway.filters import Filters
from harness.gateway.inline import without_routing
from harness.gateway.ledger import Ledger
from harness.gateway.limits import RateLimiter
from harness.gateway.refusal import Refusal
from harness.gateway.relay import Relay, decision_headers
from harness.gateway.upstream import Upstream
from harness.routing.affinity import Affinity, Session
from harness.routing.feeds import Feeds

Scope = MutableMapping[str, Any]


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


JSON = (b"content-type", b"application/json")


log = logging.getLogger("harness.gateway")


class Gateway:
    """Everything the endpoints share. `price` fills in a record's USD."""

    def __init__(
        self,
        settings: GatewaySettings,
        decider: Decider,
        upstream: Upstream,
        cooldown: Cooldown,
        ledger: Ledger,
        price: Callable[[Record], None] | None = None,
        *,
        affinity: Affinity | None = None,
        feeds: Feeds | None = None,
        trace: Callable[[Record, str | None], None] | None = None,
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.settings, self.decider, self.upstream, self.cooldown, self.ledger = (
            settings,
            decider,
            upstream,
            cooldown,
            ledger,
        )
        self.affinity, self.feeds = affinity, feeds
        self._price = price
        self._limits = settings.section.limits
        self._body_limit = int(self._limits.body_mb * 1048576)
        self._tokens = [token.get_secret_value().encode() for token in settings.section.tokens]
        self._name = f"harness-{secrets.token_hex(6)}"
        self._closers = closers
        self._trace, self._limiter = trace, RateLimiter(settings.section.rate_limits)
        self._filters = Filters(settings.section.filters)
        via = f"1.1 {self._name}"
        self._relay = Relay(upstream, via, cooldown.rest, cooldown.recovered, self._limiter, self._filters)

    async def chat(self, form: WireName, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/…`: decide, carry, record."""
        began = time.perf_counter()
        record = Record("", form)
        started = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        self.ledger.in_flight += 1
        asked: Asked | None = None
        decision: Decision | None = None
        try:
            asked = await self._asked(form, scope, receive)
            record.requested, record.stream = asked.model, asked.stream
            said = "input" if form == "responses" else "messages"
            if asked.body.get(said) in ([], ""):
                raise Refusal(400, f"{said}: there is nothing to answer; send at least one message", param=said)
            decision = await self.decider.serve(asked)
            record.route, record.reason, record.session = decision.route, decision.reason, decision.session
            record.pinned = decision.pinned
            _log(decision)
            sent = without_routing(asked)
            await self._unless_gone(receive, self._relay.carry(sent, decision, record, watched))
        except Refusal as refusal:
            record.status, record.error = refusal.status, refusal.message
            if not started:
                await refuse(refusal, form, send, decision_headers("none", decision) if decision else ())
        except ClientGone:
            if not record.complete:
                record.status, record.error = 499, "the client hung up"
        finally:
            self.ledger.in_flight -= 1
            record.seconds = time.perf_counter() - began
            self._book(record, asked)
        if decision is not None and decision.pin is not None:
            await self._observe(decision.pin, record)

    async def _observe(self, pin: Session, record: Record) -> None:
        """Tell the session what its model has read, and so cached: the routing budget prices a switch by it."""
        if self.affinity is None or self.affinity.budget is None or record.usage is None:
            return
        read = record.usage.total_input + record.usage.output_tokens
        await self.affinity.observed(pin, record.model, read, Decimal(record.usd or 0))

    def _book(self, record: Record, asked: Asked | None) -> None:
        """Price, settle, remember and trace what is over."""
        if record.usage is not None:
            if self._price is not None:
                self._price(record)
            if self._limiter and asked is not None:
                used = record.usage.total_input + record.usage.output_tokens
                self._limiter.settle(record.model, asked.headers, estimated_tokens(asked), used)
        self.ledger.add(record)
        if self._trace is not None:
            self._trace(record, asked.headers.get("traceparent") if asked else None)

    async def decide(self, form: WireName, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /routing/v1/…`: which model, and why; no model is called."""
        try:
            asked = await self._asked(form, scope, receive)
            decision = await self.decider.advise(asked)
        except Refusal as refusal:
            await refuse(refusal, form, send)
            return
        except ClientGone:
            return
        answer = decision_body(decision, trace_id(asked.headers.get("traceparent")))
        await respond(200, orjson.dumps(answer), send)

    async def count_tokens(self, form: WireName, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/messages/count_tokens`: asked of the model's own provider where it counts, else estimated."""
        try:
            asked = await self._asked("messages", scope, receive)
            items("messages", asked.body)
            counted = await self._relay.count_tokens(asked, self.decider.target(asked.model) if asked.model else None)
        except Refusal as refusal:
            await refuse(refusal, "messages", send)
            return
        except ClientGone:
            return
        if counted is not None:
            await respond(200, counted, send)
            return
        body = orjson.dumps({"input_tokens": max(1, estimated_tokens(asked))})
        await respond(200, body, send, [(b"x-harness-estimate", b"true")])

    def problems(self) -> list[str]:
        """What does not work at present, though requests are served."""
        found = [f"{model}: {why}" for model, (_, why) in self.cooldown.resting().items()]
        if self.affinity is not None and self.affinity.problem:
            found.append(f"sessions: {self.affinity.problem}")
        if self.feeds is not None:
            found += [f"{status.source}: {status.problem}" for status in self.feeds.status() if status.problem]
        return found

    async def aclose(self) -> None:
        """Hang up on everybody: providers, the router model, the session store; send the last spans."""
        await self.upstream.aclose()
        for close in self._closers:
            await close()
        if self.affinity is not None:
            await self.affinity.aclose()
        if self._trace is not None and hasattr(self._trace, "close"):
            await anyio.to_thread.run_sync(self._trace.close)

    async def _asked(self, form: WireName, scope: Scope, receive: Receive) -> Asked:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._tokens:
            self._authenticate(headers)
        if self._name in headers.get("via", ""):
            raise Refusal(508, "this request has been here before: a provider's base_url leads back to this gateway")
        if self.ledger.in_flight > self._limits.concurrent:
            raise Refusal(429, f"{self._limits.concurrent} requests are under way, this gateway's limit", retry_after=1)
        raw = await read_body(receive, headers, self._body_limit)
        body = parse_object(raw)
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            raise Refusal(400, "model: expected a string", param="model")
        if form == "messages" and "thread" in body:
            raise Refusal(
                400,
                "thread: this endpoint keeps no threads; send the whole conversation in messages",
                param="thread",
                details={"error_code": "thread_unsupported_request"},
            )
        query = scope.get("query_string", b"").decode("latin-1")
        return self._filters.request(Asked(form, raw, body, headers, query))

    def _authenticate(self, headers: dict[str, str]) -> None:
        """Compare in constant time with every token; what matched is ours and goes no further."""
        for name, given in (
            ("x-harness-token", headers.get("x-harness-token")),
            ("authorization", credential(headers)),
            ("x-api-key", headers.get("x-api-key")),
        ):
            matches = [hmac.compare_digest((given or "").encode(), token) for token in self._tokens]
            if any(matches):
                for used in (name,) if name == "x-harness-token" else ("authorization", "x-api-key"):
                    headers.pop(used, None)
                return
        raise Refusal(
            401, "this gateway wants one of its tokens as a bearer token or x-api-key", code="invalid_api_key"
        )

    async def _unless_gone(self, receive: Receive, work: Awaitable[None]) -> None:
        """Do the work, and drop it, upstream call included, as soon as the client hangs up."""
        gone, refused = False, None
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                nonlocal gone
                while (await receive())["type"] != "http.disconnect":
                    pass
                gone = True
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                await work
            except Refusal as refusal:  # not through the group, which would wrap it
                refused = refusal
            group.cancel_scope.cancel()
        if refused is not None:
            raise refused
        if gone:
            raise ClientGone


def decision_body(decision: Decision, trace: str) -> dict[str, Any]:
    """A decision as the decision endpoints tell it."""
    answer: dict[str, Any] = {
        "model": decision.models[0],
        "models": decision.models,
        "route": decision.route,
        "trace_id": trace,
        "pinned": decision.pinned,
        "switched": decision.switched,
        "reason": decision.reason,
    }
    if decision.session is not None:
        answer["session_id"] = decision.session
    if decision.warnings:
        answer["warnings"] = decision.warnings
    return answer


def trace_id(traceparent: str | None) -> str:
    """The caller's W3C trace id, or a new one."""
    parts = (traceparent or "").split("-")
    if (
        len(parts) >= 4
        and len(parts[1]) == 32
        and parts[1].strip("0")
        and all(c in "0123456789abcdef" for c in parts[1])
    ):
        return parts[1]
    return secrets.token_hex(16)


async def respond(status: int, body: bytes, send: Send, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """A whole JSON answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON, (b"content-length", str(len(body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def refuse(refusal: Refusal, form: WireName, send: Send, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """An error in the caller's own wire format."""
    wait = [] if refusal.retry_after is None else [(b"retry-after", str(max(1, round(refusal.retry_after))).encode())]
    await respond(refusal.status, orjson.dumps(refusal.body(form)), send, [*headers, *wait])


def _log(decision: Decision) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    if decision.scenario == "plan_implementation":
        log.info("Plan implementation detected - routing to smaller model")
    target = decision.targets[0]
    log.info("Provider: %s, Model: %s", target.provider, target.model)
    log.info("Scenario: %s", decision.scenario or "none")
