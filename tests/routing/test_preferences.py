"""Routes by description: the embedded classifier, its abstaining, and a router model that is down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.config.settings import RoutePreference
from harness.routing.preferences import KeywordClassifier, PreferenceRouter, Scores
from harness.routing.router_model import Answer, RouterDown, RouterModel
from harness.routing.turns import Spoken, Turn

ROUTES = (
    RoutePreference(name="billing", description="invoices, refunds, payment methods, charges on a card"),
    RoutePreference(name="weather", description="weather forecasts, temperature, rain and snow"),
)
ASKED = (Turn("user", "Why was my card charged twice, I want a refund for the invoice"),)


class Down:
    model = "away"

    async def choose(self, routes: Sequence[RoutePreference], turns: Sequence[Spoken]) -> str | None:
        raise RouterDown("router model away cannot be reached")


@pytest.mark.parametrize(
    ("text", "route"),
    [(ASKED[0].text, "billing"), ("Will it rain tomorrow, and how cold will it be?", "weather")],
)
def test_embedded(text: str, route: str) -> None:
    pytest.importorskip("onnxruntime")
    router = PreferenceRouter(ROUTES)
    match = router.classify(text)
    assert (match.route, match.by) == (route, "embedded")
    assert match == router.classify(text)


def test_what_no_route_describes_is_left_to_the_default() -> None:
    pytest.importorskip("onnxruntime")
    match = PreferenceRouter(ROUTES).classify("Recommend a novel by a Portuguese author")
    assert match.route is None and "nothing fits" in match.why


def test_keywords_say_what_they_are() -> None:
    router = PreferenceRouter(ROUTES, classifier=lambda routes: KeywordClassifier(routes, "keywords only"))
    match = router.classify(ASKED[0].text)
    assert (match.route, match.by, match.warnings) == ("billing", "keywords", ("keywords only",))


def test_of_a_long_text_both_ends_are_read_and_no_more() -> None:
    """All of ten megabytes took a minute, of a thread that other requests wait for."""
    read: list[str] = []

    class Reader(KeywordClassifier):
        def scores(self, text: str) -> Scores:
            read.append(text)
            return super().scores(text)

    pasted = "lorem ipsum " * 100_000
    router = PreferenceRouter(ROUTES, classifier=Reader)
    assert router.classify(f"Refund the invoice: {pasted}").scores[0][0] == "billing"
    assert router.classify(f"{pasted} Will there be rain or snow?").scores[0][0] == "weather"
    assert max(map(len, read)) < 5_000


async def test_a_router_model_that_is_down_is_said_and_replaced() -> None:
    match = await PreferenceRouter(ROUTES, model=Down(), classifier=KeywordClassifier).decide(ASKED)
    assert match.route == "billing" and "cannot be reached" in match.warnings[0]


async def test_a_router_model_decides() -> None:
    async def post(body: dict[str, object]) -> Answer:
        content = '{"choices": [{"message": {"content": "{\\"route\\": [\\"weather\\"]}"}}]}'
        return Answer(status=200, body=content.encode())

    match = await PreferenceRouter(ROUTES, model=RouterModel("m", post), classifier=KeywordClassifier).decide(ASKED)
    assert (match.route, match.by) == ("weather", "m")
