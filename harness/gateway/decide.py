"""Which models serve a request, and why. The order, first that fires:

    a model asked for by its exact name (unless `override_requested_model`) · an alias · the session's pin
    · preferences inside the request · scenarios · preferences · the model asked for, if it is one · the default

The logic of each step lives in `harness/routing/`; this module only asks them in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from harness.config.gateway_section import GatewaySettings, Route
from harness.config.targets import Target, resolve
from harness.gateway import conversation
from harness.gateway.cooldown import Cooldown
from harness.gateway.exchange import Asked, Decision
from harness.gateway.inline import inline_routes
from harness.gateway.prepare import HOME
from harness.gateway.refusal import Refusal
from harness.routing.affinity import Affinity, Session, derived_session, prefix_hash, session_of
from harness.routing.scenarios import ChatFacts, classify, is_web_search
from harness.routing.switching import Proposal, Settled

REQUEST_CLASS = "x-claude-code-request-class"
ERRANDS = ("auxiliary", "side_reply")
"""Values of Claude Code's hint header for requests that no person waits for."""
NONE = "none"
"""What a decision endpoint answers when nothing matched."""


class Matcher(Protocol):
    async def match(
        self, routes: Sequence[Route], turns: Sequence[conversation.Turn]
    ) -> tuple[str | None, str, tuple[str, ...]]:
        """The route that fits the conversation or None, why, and warnings."""

    async def router(self, routes: Sequence[Route]) -> object:
        """Make ready for these routes."""


Rank = Callable[[Sequence[str], str], Awaitable[tuple[str, ...]]]
"""(models, `cheapest` | `fastest` | `none`) → the models in the order to try."""


@dataclass(frozen=True)
class Choice:
    """Names and reason, before names become targets."""

    models: tuple[str, ...]
    route: str | None
    reason: str
    scenario: str | None = None
    by: Literal["name", "pin", "inline", "scenario", "preference", "default", "none"] = "default"
    warnings: tuple[str, ...] = ()


class Decider:
    """`tiers` maps a route's tier to its models."""

    def __init__(
        self,
        settings: GatewaySettings,
        tiers: Mapping[str, tuple[str, ...]],
        matcher: Matcher | None,
        affinity: Affinity | None,
        rank: Rank | None,
        cooldown: Cooldown,
        advice: Sequence[Route] = (),
    ) -> None:
        self._settings, self._section, self._tiers = settings, settings.section, tiers
        self._matcher, self._affinity, self._rank, self._cooldown = matcher, affinity, rank, cooldown
        self._advice = tuple(advice)
        self._targets: dict[str, Target | None] = {}

    async def warm(self) -> None:
        """Load what the configured routes need before the first request waits for it."""
        if self._section.routes and self._matcher is not None:
            await self._matcher.router(self._section.routes)

    def target(self, name: str) -> Target | None:
        """The target of a name, aliases followed; None when nothing answers to it."""
        if name not in self._targets:
            if len(self._targets) > 4096:  # names come from clients
                self._targets.clear()
            real = name
            while real in self._section.aliases:
                real = self._section.aliases[real]
            self._targets[name] = resolve(self._settings.targets, real)
        return self._targets[name]

    async def serve(self, asked: Asked) -> Decision:
        """What to send the request to; raises Refusal when no model is left."""
        choice, settled = await self._choose(asked, self._section.routes)
        if not choice.models:
            raise self._unknown(asked)
        order = self._cooldown.order(dict.fromkeys(choice.models))
        found = {target.name: target for name in order if (target := self.target(name)) is not None}
        if not found:
            raise Refusal(
                400,
                f"none of the decided models is configured: {', '.join(choice.models)}",
                param="model",
                code="model_not_found",
            )
        return self._decision(choice, settled, tuple(found.values()))

    async def advise(self, asked: Asked) -> Decision:
        """The same decision for a decision endpoint: names only, `none` when nothing matched."""
        routes = self._section.routes or (self._advice if not self._section.scenarios.chains else ())
        choice, settled = await self._choose(asked, routes, advice=True)
        if choice.by in ("default", "none"):
            choice = replace(choice, models=(NONE,), route=None, reason=choice.reason.partition("; ")[0])
        return self._decision(choice, settled, ())

    def _decision(
        self, choice: Choice, settled: tuple[Session, Settled | None] | None, found: tuple[Target, ...]
    ) -> Decision:
        session, kept = settled or (None, None)
        problem = self._affinity.problem if session and self._affinity else None
        alone = (f"{problem}; the session is not pinned",) if problem else ()
        return Decision(
            found,
            choice.route,
            choice.reason,
            choice.models,
            choice.scenario,
            session.id if session else None,
            bool(kept and kept.pinned),
            bool(kept and kept.switched),
            session if kept else None,
            (*choice.warnings, *alone),
        )

    async def _choose(
        self, asked: Asked, routes: Sequence[Route], advice: bool = False
    ) -> tuple[Choice, tuple[Session, Settled | None] | None]:
        inline = inline_routes(asked.body)
        if inline is None and (named := self._named(asked)) is not None:
            return named, None
        session = self._session(asked)
        if session is None or self._affinity is None:
            return await self._fresh(asked, inline, routes), None
        held = await self._affinity.held(session)
        if (
            held is None
            and self._section.session.user_turns_only
            and not conversation.is_user_turn(conversation.turns(asked))
        ):
            held = await self._affinity.replayed(session, asked.model, _prefix(asked))
        if held is not None and (advice or all(self.target(model) for model in held.models)):
            return Choice(held.models, held.route, f"session {_short(session.id)} is pinned", by="pin"), (session, held)
        choice = await self._fresh(asked, inline, routes)
        if (
            choice.by == "none"
            or not (session.explicit or choice.by == "preference")
            or (advice and choice.by == "default")
        ):
            return choice, (session, None)
        return await self._settle(asked, session, choice)

    def _session(self, asked: Asked) -> Session | None:
        """A client's own session header pins only what preferences decide: its scenarios differ from turn to turn."""
        tenant = asked.headers.get((self._section.session.tenant_header or "").lower())
        session = session_of(asked.headers, requested_model=asked.model, tenant=tenant)
        if session is not None:
            return session if session.explicit or self._section.session.implicit else None
        if self._section.session.budget is None and not self._section.session.user_turns_only:
            return None
        derived = derived_session(_cached_first(asked), conversation.tool_names(asked.body), tenant)
        return None if derived is None else Session(id=derived, key=derived, explicit=True)

    async def _settle(
        self, asked: Asked, session: Session, choice: Choice
    ) -> tuple[Choice, tuple[Session, Settled | None]]:
        assert self._affinity is not None
        budget = self._affinity.budget
        priced = budget is not None
        proposal = Proposal(
            models=choice.models,
            route=choice.route,
            requested_model=asked.model,
            prefix_hash=_prefix(asked) if priced or self._section.session.user_turns_only else None,
            context_tokens=conversation.estimated_tokens(asked) if priced else 0,
        )
        header = asked.headers.get("x-plano-max-switch-spend-pct")
        settled = await self._affinity.settle(session, proposal, budget.overridden(header) if budget else None)
        if settled.reason == "over_cap":
            reason = f"session {_short(session.id)} stays: leaving its warm cache is over the routing budget"
            return Choice(settled.models, settled.route, reason, by="pin"), (session, settled)
        return replace(choice, models=settled.models, route=settled.route), (session, settled)

    def _named(self, asked: Asked) -> Choice | None:
        model = asked.model
        if not model or model == NONE:
            return None
        if model in self._section.aliases:
            target = self.target(model)
            if target is not None:
                return Choice((target.name,), None, f"'{model}' is an alias of {target.name}", by="name")
        exact = "/" in model or model in self._settings.targets
        if exact and not self._section.scenarios.override_requested_model:
            target = self.target(model)
            if target is not None and not target.internal:
                return Choice((target.name,), None, f"{target.name} was asked for by name", by="name")
        return None

    async def _fresh(self, asked: Asked, inline: tuple[Route, ...] | None, routes: Sequence[Route]) -> Choice:
        warnings: tuple[str, ...] = ()
        why = "no route matched"
        if inline is None and (chains := self._section.scenarios.chains):
            scenario, reason = self._scenario(asked, chains)
            if scenario != "default":
                return Choice(chains[scenario], scenario, reason, scenario, by="scenario")
        wanted = routes if inline is None else inline
        if wanted and self._matcher is not None:
            found = conversation.turns(asked)
            if not conversation.last_user_text(found):
                return self._fallback(asked, "there is no text to go by")
            name, why, warnings = await self._matcher.match(wanted, found)
            route = next((route for route in wanted if route.name == name), None)
            if route is not None:
                models = route.models or self._tiers.get(route.tier or "", ())
                models = await self._rank(models, route.prefer) if self._rank else tuple(models)
                return Choice(models, route.name, why, by="inline" if inline else "preference", warnings=warnings)
        return replace(self._fallback(asked, why), warnings=warnings)

    def _scenario(self, asked: Asked, chains: Mapping[str, tuple[str, ...]]) -> tuple[str, str]:
        """A client that marks its own errands (titles, side replies) is believed: their text quotes the user's."""
        found = classify(self._facts(asked), tuple(chains), self._section.scenarios.long_context_threshold)
        errand = asked.headers.get(REQUEST_CLASS, "")
        if errand in ERRANDS and "background" in chains and found[0] not in ("image", "web_search", "long_context"):
            return "background", f"the client marks it as {errand.replace('_', ' ')}"
        return found

    def _fallback(self, asked: Asked, why: str) -> Choice:
        chains = self._section.scenarios.chains
        if "default" in chains:
            return Choice(chains["default"], "default", "no other scenario fits", "default", by="scenario")
        if asked.model and (target := self.target(asked.model)) is not None and not target.internal:
            return Choice((target.name,), None, f"{why}; {target.name} was asked for")
        if self._settings.default is not None:
            return Choice((self._settings.default,), None, f"{why}; the default model")
        if asked.model and self._settings.open_models and "/" not in asked.model:
            home = f"{HOME[asked.form]}/{asked.model}"
            if self.target(home) is not None:
                return Choice((home,), None, f"{why}; '{asked.model}' is taken for {HOME[asked.form]}'s")
        return Choice((), None, why, by="none")

    def _facts(self, asked: Asked) -> ChatFacts:
        found = conversation.turns(asked)
        threshold = self._section.scenarios.long_context_threshold
        long = "long_context" in self._section.scenarios.chains and len(asked.raw) >= threshold
        return ChatFacts(
            text=conversation.last_user_text(found),
            image=conversation.has_image(asked),
            web_search=any(map(is_web_search, conversation.tool_names(asked.body))),
            tokens=conversation.estimated_tokens(asked) if long else len(asked.raw) // 4,
            thinking=conversation.wants_thinking(asked.body),
            model=asked.model or None,
        )

    def _unknown(self, asked: Asked) -> Refusal:
        if not asked.model:
            return Refusal(
                400, "model: is required: no default model is configured", param="model", code="model_not_found"
            )
        known = [name for name, target in self._settings.targets.items() if not target.internal]
        return Refusal(
            404 if asked.form == "messages" else 400,
            f"model '{asked.model[:200]}' is not configured here; known: {', '.join(known[:20])}",
            param="model",
            code="model_not_found",
        )


def _prefix(asked: Asked) -> int:
    """What a provider caches first, in any wire format: system prompt and tools."""
    return prefix_hash(_cached_first(asked), conversation.tool_names(asked.body))


def _cached_first(asked: Asked) -> list[dict[str, Any]]:
    system = asked.body.get("system") or asked.body.get("instructions")
    first = [{"role": "system", "content": system}] if system else []
    return first + conversation.items(asked.form, asked.body)


def _short(session: str) -> str:
    return session if len(session) <= 12 else session[:11] + "…"
