"""The `preference` strategy: the route whose description an issue fits.

Routes are those of `routing > preferences`; without any, `routing > strategies: [preference]` goes by `tiers.yaml`.
"""

from __future__ import annotations

from importlib.resources import files

import yaml

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
        routes = routing.preferences or tuple(route for route in built_in_routes() if route.tier in settings.tiers)
        self._routes = {route.name: route for route in routes}
        self._router = PreferenceRouter(routes, routing.preference_threshold)

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


def built_in_routes() -> tuple[RoutePreference, ...]:
    """Kinds of issues, described with examples, each with its tier."""
    rows = yaml.safe_load((files("harness.routing") / "tiers.yaml").read_text("utf-8"))
    return tuple(RoutePreference.model_validate(row) for row in rows)
