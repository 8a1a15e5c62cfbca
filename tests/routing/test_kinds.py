"""Kinds of requests: the shipped vectors are those of the shipped text, and described routes take up what they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.config.settings import RoutePreference
from harness.routing.kinds import kinds, read
from harness.routing.preferences import PreferenceRouter

pytest.importorskip("onnxruntime")

TESTS = Path(__file__).parents[1]
NEVER_SEEN = (
    RoutePreference(name="route_a", description="complex reasoning tasks, multi-step analysis, detailed explanations"),
    RoutePreference(name="route_b", description="generating new code, writing functions, or creating boilerplate"),
)
HELD_OUT_RIGHT, HELD_OUT_KEPT, HELD_OUT_REFUSED = 0.90, 0.80, 0.90
"""What the benchmark measured is some points above; below these something is broken."""


def test_vectors_belong_to_the_text() -> None:
    from harness.routing.embedding import encoder

    rows = read()
    requests = [text for what, _, text in rows if what == "request"]
    assert len(requests) == len(kinds().requests)
    for index in range(0, len(requests), 40):
        assert float(encoder().encode(requests[index]) @ kinds().requests[index]) > 0.999
    assert len({kind for _, kind, _ in rows}) == rows[-1][1] + 1


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("Implement a cache with a time limit in Go", "route_b"),
        ("Weigh the benefits of a four-day week against its costs, step by step", "route_a"),
        ("Hello", None),
        ("thanks, bye", None),
        ("zzz qqq", None),
        ("Will there be snow on Sunday?", None),
    ],
)
def test_a_few_abstract_words_are_enough(text: str, route: str | None) -> None:
    assert PreferenceRouter(NEVER_SEEN).classify(text).route == route


def test_what_one_route_names_is_foreign_to_another_set() -> None:
    greeting = RoutePreference(name="small_talk", description="greetings and chit-chat")
    assert PreferenceRouter((*NEVER_SEEN, greeting)).classify("Hello there").route == "small_talk"


def test_route_configurations_held_out() -> None:
    rows = yaml.safe_load((TESTS / "benchmarks" / "route_configurations.yaml").read_text(encoding="utf-8"))["held_out"]
    inside: list[tuple[bool, bool]] = []
    refused: list[bool] = []
    for row in rows:
        routes = [RoutePreference(name=name, description=text) for name, text in row["routes"].items()]
        router = PreferenceRouter(routes)
        for wanted, texts in row["requests"].items():
            for text in texts:
                match = router.classify(text)
                if wanted == "none":
                    refused.append(match.route is None)
                else:
                    inside.append((match.route is not None, match.route in (wanted, None)))
    assert np.mean([kept for kept, _ in inside]) > HELD_OUT_KEPT
    assert np.mean([right for _, right in inside]) > HELD_OUT_RIGHT
    assert np.mean(refused) > HELD_OUT_REFUSED
