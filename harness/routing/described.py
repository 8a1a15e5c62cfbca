"""The `preference` strategy: the route whose description an issue fits, from `routing.preferences`."""

from __future__ import annotations

from harness.config.settings import RoutePreference, Settings
from harness.routing.preferences import PreferenceRouter
from harness.types import Considered, Issue, Opinion, TraceLine

BODY_READ = 2_000
"""Characters of the body that are classified: what an issue is about stands at its beginning."""


class PreferenceStrategy:
    """Asks the embedded classifier, which abstains below `routing.preference_threshold`."""

    name = "preference"

    def __init__(self, settings: Settings) -> None:
        routing = settings.routing
        self._tiers = settings.tiers
        self._routes = {route.name: route for route in routing.preferences}
        self._router = PreferenceRouter(routing.preferences, routing.preference_threshold)

    def consider(self, issue: Issue) -> Considered:
        match = self._router.classify(f"{issue.title}\n{issue.body[:BODY_READ]}".strip())
        tier = self._tier(self._routes[match.route]) if match.route else None
        why = match.why
        warnings = list(match.warnings)
        if match.route and tier is None:
            why += "; its models are in no tier's pool"
            warnings.append(f"routing.preferences '{match.route}' names neither a tier nor a model of one")
        line = TraceLine(rule=f"preference {match.route}" if match.route else "preference", matched=bool(tier), why=why)
        if match.route is None or tier is None:
            return Considered(None, (line,), tuple(warnings))
        opinion = Opinion(tier=tier, rule=match.route, reason=why, confidence=match.confidence)
        return Considered(opinion, (line,), tuple(warnings))

    def _tier(self, route: RoutePreference) -> str | None:
        if route.tier in self._tiers:
            return route.tier
        return next((tier for tier, pool in self._tiers.items() if set(pool) & set(route.models)), None)
