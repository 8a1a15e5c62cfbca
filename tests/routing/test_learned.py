"""Learned routing: silent without evidence, right with it, careful where it is unsure, the same for the same data."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from harness.config.settings import LearnedSettings, RoutingSettings, Settings
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.protocols import Opinion
from harness.records import DAY
from harness.routing.evidence import Belief, Tally, believe, keys_of, leading_word, tally
from harness.routing.learned import LearnedStrategy, harmless
from harness.routing.near_embedded import EmbeddedNeighbours
from harness.routing.neighbours import Neighbours
from harness.routing.weighing import FAINT, chance_above, trial_odds, weigh
from harness.types import Issue
from tests.fakes.outcomes import NOW, make_outcome, make_run_outcome
from tests.fakes.runs import make_run

ISSUE = Issue(id="i-1", title="Handle the empty list")
Strategy = Callable[..., LearnedStrategy]


def fill(state: Path, tier: str, solved: int, failed: int, cost: int, at: int = NOW, **changes: object) -> None:
    rank = ("haiku", "sonnet", "opus").index(tier)
    keys = ("*", "rule:default", "rule+type:default task", "rule+type+word:default task handle")
    with Outcomes(state) as store:
        for number in range(solved + failed):
            ok = int(number < solved)
            run_id = f"{tier}-{at}-{number}-{len(changes)}"
            own = {
                "run_id": run_id,
                "id": run_id,
                "tier": tier,
                "rank": rank,
                "success": ok,
                "at": at,
                "stay_nusd": cost,
            }
            row = make_outcome(number, **{**own, "keys": keys, **changes})
            store.put(make_run_outcome(run_id, at=at), [row])


@pytest.fixture
def strategy(tmp_path: Path) -> Strategy:
    def make(**learned: object) -> LearnedStrategy:
        routing = RoutingSettings(learned=LearnedSettings.model_validate(learned))
        return LearnedStrategy(tmp_path, Settings(root=tmp_path, routing=routing))

    return make


def why(strategy: LearnedStrategy, issue: Issue = ISSUE) -> str:
    return " | ".join(line.why for line in strategy.consider(issue).trace)


def test_silent_without_outcomes(strategy: Strategy, tmp_path: Path) -> None:
    assert strategy().consider(ISSUE).opinion is None
    assert "no outcomes yet" in why(strategy())
    assert not list(tmp_path.iterdir()), "asking makes no file"


def test_silent_below_the_bar_and_says_how_many(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 29, 0, 1_000_000)
    assert strategy().consider(ISSUE).opinion is None
    assert "29 outcomes so far; speaks from 30" in why(strategy())


def test_switched_off(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 90, 0, 1_000_000)
    assert strategy(enabled=False).consider(ISSUE).opinion is None


def test_goes_down_where_the_cheap_tier_does_it(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 48, 2, 4_000_000)
    fill(tmp_path, "sonnet", 40, 2, 14_000_000)
    opinion = strategy().consider(ISSUE).opinion
    assert opinion is not None
    assert (opinion.tier, opinion.rule, opinion.propensity) == ("haiku", "learned/default", 1.0)
    assert opinion.confidence >= 0.8
    assert "of 92 outcomes" in opinion.reason


def test_a_tier_that_fails_too_often_is_not_begun_at_however_cheap(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 45, 55, 1_000_000)
    fill(tmp_path, "sonnet", 40, 2, 14_000_000)
    assert strategy().consider(ISSUE).opinion is None
    opinion = strategy(min_success=0.3).consider(ISSUE).opinion
    assert opinion is not None and opinion.tier == "haiku"


def test_goes_up_where_the_cheap_tier_fails(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 3, 47, 9_000_000)
    fill(tmp_path, "sonnet", 45, 2, 14_000_000)
    start = Opinion(tier="haiku", rule="default", reason="")
    opinion = strategy().consider(ISSUE, start).opinion
    assert opinion is not None and opinion.tier == "sonnet"


def test_agreement_adds_nothing(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 3, 47, 9_000_000)
    fill(tmp_path, "sonnet", 45, 2, 14_000_000)
    considered = strategy().consider(ISSUE)
    assert considered.opinion is None
    assert "agrees with sonnet" in why(strategy())


def test_risk_is_never_routed_down(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 60, 0, 4_000_000)
    fill(tmp_path, "sonnet", 40, 0, 14_000_000)
    for issue in (
        ISSUE.model_copy(update={"title": "Handle the password reset"}),
        ISSUE.model_copy(update={"labels": ("security",)}),
        ISSUE.model_copy(update={"priority": 0}),
    ):
        assert not harmless(issue)
        assert strategy().consider(issue).opinion is None
    assert strategy().consider(ISSUE).opinion is not None


@pytest.mark.parametrize(
    ("title", "expected"),
    [("Show the author of a post", True), ("Speed up the tokenizer", True), ("Encrypt the backups", False),
     ("Rotate auth tokens", False), ("Authorize uploads", False), ("Migrate to the new schema", False)],
)  # fmt: skip
def test_risk_is_told_by_words_not_by_letters(title: str, expected: bool) -> None:
    assert harmless(Issue(id="x", title=title)) is expected


def test_unsure_stays(strategy: Strategy, tmp_path: Path) -> None:
    """At 14 against 10 cents-ish haiku must solve about two thirds; two thirds seen of few is no proof."""
    fill(tmp_path, "haiku", 7, 5, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    assert strategy().consider(ISSUE).opinion is None


def test_an_unseen_tier_is_not_departed_to(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "sonnet", 60, 0, 14_000_000)
    assert strategy().consider(ISSUE).opinion is None


def test_the_same_data_give_the_same_answer(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 40, 10, 4_000_000)
    fill(tmp_path, "sonnet", 40, 2, 14_000_000)
    first = strategy().consider(ISSUE)
    assert all(strategy().consider(ISSUE) == first for _ in range(3))


def test_new_outcomes_are_seen_without_a_restart(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 20, 0, 4_000_000)
    running = strategy()
    assert "20 outcomes" in why(running)
    fill(tmp_path, "sonnet", 30, 0, 14_000_000)
    assert "solved 20 of 20" in why(running)


def test_old_evidence_fades(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 40, 0, 4_000_000, at=NOW - 120 * DAY)
    fill(tmp_path, "sonnet", 1, 0, 14_000_000)
    assert "11 outcomes so far" in why(strategy(half_life_days=60)), "40 at two half-lives are 10"


def test_scripted_work_teaches_nothing(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 60, 0, 4_000_000, scripted=1)
    assert "0 outcomes" in why(strategy())


def exploring(strategy: LearnedStrategy, issues: int = 400) -> list[Opinion | None]:
    return [strategy.consider(ISSUE.model_copy(update={"id": f"n-{n}"})).opinion for n in range(issues)]


def test_explores_downward_at_the_logged_propensity(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    made = exploring(strategy(explore_usd_per_day=Decimal(50)), 1_600)
    tried = [one for one in made if one is not None and one.rule == "learned/explore/default"]
    kept = [one for one in made if one is not None and one.rule == "learned/default"]
    assert {one.tier for one in tried} == {"haiku"}
    assert {one.tier for one in kept} == {"sonnet"}
    [odds] = {one.propensity for one in tried}
    assert {one.propensity for one in kept} == {1 - odds}
    assert FAINT <= odds < 0.9
    assert len(tried) / len(made) == pytest.approx(odds, abs=0.03)


def test_explores_nothing_without_a_budget_or_beyond_it(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    assert set(exploring(strategy())) == {None}
    with Outcomes(tmp_path) as store:
        store.put(make_run_outcome("lost", explored_nusd=5_000_000_000), [])
    assert set(exploring(strategy(explore_usd_per_day=Decimal(5)))) == {None}


async def under_way(state: Path, count: int, **changes: object) -> None:
    """Runs of issue n-0, n-1, … that try haiku on two tasks and have not ended."""
    journal = SqliteJournal(state / "journal.db")
    for number in range(count):
        run = make_run(seed=number, tasks=2, status="running", rule="learned/explore/default", scripted=False)
        route = run.route.model_copy(update={"tier": "haiku"})
        issue = run.issue.model_copy(update={"id": f"under-way-{number}"})
        await journal.save(run.grown(**{"id": f"u-{number}", "issue": issue, "route": route, **changes}))
    await journal.aclose()


@pytest.mark.anyio
async def test_tries_under_way_are_charged_as_if_they_failed(strategy: Strategy, tmp_path: Path) -> None:
    """A failed stay at haiku costs 0.9 cents; five runs of two tasks are ten of them, and the eleventh must fit."""
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    await under_way(tmp_path, 5)
    assert explored(exploring(strategy(explore_usd_per_day=Decimal("0.098")))) == 0
    assert explored(exploring(strategy(explore_usd_per_day=Decimal("0.100")))) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("changes", [{"status": "done"}, {"scripted": True}], ids=["ended", "scripted"])
async def test_runs_that_have_ended_reserve_nothing(
    strategy: Strategy, tmp_path: Path, changes: dict[str, object]
) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    await under_way(tmp_path, 5, **changes)
    assert explored(exploring(strategy(explore_usd_per_day=Decimal("0.098")))) == 10


def test_decisions_that_no_run_has_taken_up_yet_are_charged_too(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    running = strategy(explore_usd_per_day=Decimal("0.030"))
    made = exploring(running)
    assert explored(made) == 3
    again = exploring(running)
    tried = [f"n-{number}" for number, one in enumerate(made) if one is not None and one.tier == "haiku"]
    assert tried == [f"n-{number}" for number, one in enumerate(again) if one is not None and one.tier == "haiku"]
    with Outcomes(tmp_path) as store:
        for issue_id in tried:
            store.put(make_run_outcome(f"{issue_id}-r1", issue_id=issue_id, explored_nusd=0), [])
    assert explored(exploring(running)) == 3, "they ended without a loss: as many may follow"


def test_an_unreadable_journal_allows_no_try(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    (tmp_path / "journal.db").write_bytes(b"no database" * 100)
    assert explored(exploring(strategy(explore_usd_per_day=Decimal(5)))) == 0


def explored(made: list[Opinion | None]) -> int:
    return sum(one is not None and one.rule.startswith("learned/explore/") for one in made)


def test_explores_only_harmless_issues(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 9, 4, 9_000_000)
    fill(tmp_path, "sonnet", 28, 1, 14_000_000)
    risky = strategy(explore_usd_per_day=Decimal(5))
    for n in range(100):
        issue = Issue(id=f"n-{n}", title="Handle the token cache")
        assert risky.consider(issue).opinion is None


# ── beliefs ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("title", "word"),
    [("Fix the typo", "fix"), ("feat(ui): Add a button", "add"), ("[web] rename x", "rename"), ("fix: crash", "crash"),
     ("", ""), ("42 is wrong", ""), ("Überarbeite das", "überarbeite")],
)  # fmt: skip
def test_leading_word(title: str, word: str) -> None:
    assert leading_word(title) == word


def test_keys_go_from_general_to_special() -> None:
    issue = Issue(id="x", title="Fix it", type="bug")
    expected = ("*", "rule:r", "rule+type:r bug", "rule+type+word:r bug fix")
    assert keys_of(issue, "r") == keys_of(issue, "learned/explore/r") == keys_of(issue, "learned/r") == expected
    assert keys_of(issue, "r", words=False) == expected[:3]


def test_a_thin_key_says_what_its_parent_says_and_a_thick_one_speaks_for_itself() -> None:
    tallies = {("*", "haiku"): Tally(1_000, 900), ("thin", "haiku"): Tally(2, 0), ("thick", "haiku"): Tally(1_000, 300)}
    thin = believe(["*", "thin"], ["haiku"], tallies)["haiku"].chance
    thick = believe(["*", "thick"], ["haiku"], tallies)["haiku"].chance
    assert 0.7 < thin < 0.9
    assert thick == pytest.approx(0.3, abs=0.02)


def test_ten_outcomes_that_contradict_the_parent_are_believed() -> None:
    tallies = {("*", "haiku"): Tally(1_000, 600), ("unlike", "haiku"): Tally(10, 10), ("like", "haiku"): Tally(10, 6)}
    unlike = believe(["*", "unlike"], ["haiku"], tallies)["haiku"]
    like = believe(["*", "like"], ["haiku"], tallies)["haiku"]
    assert unlike.chance > 0.8, "a prior worth 16 outcomes alone would say 0.75"
    assert like.chance == pytest.approx(0.6, abs=0.005)
    assert like.spread < 0.1


def test_without_outcomes_the_prior_speaks() -> None:
    beliefs = believe(["*"], ["haiku", "sonnet", "opus"], {})
    assert [round(belief.chance, 2) for belief in beliefs.values()] == [0.80, 0.88, 0.93]
    assert beliefs["haiku"].nusd is None


def test_expected_cost_is_that_of_the_whole_ladder() -> None:
    ladder = [Belief(8, 2, 8, 2, 1.0), Belief(9, 1, 5, 5, 10.0)]
    weighed = weigh(ladder, 1, [True, True])
    # sonnet: 10, and 10 more in the tenth that fails; haiku: 1, and where it fails sonnet's late half-chance.
    assert weighed.expected == pytest.approx((1 + 0.2 * (10 + 0.5 * 10), 10 + 0.1 * 10))
    assert weighed.best == 0


def test_where_both_cost_the_same_the_odds_are_even() -> None:
    """6 in 10 at 2 and then 5.5, against 5.5 throughout: both 4.2 or so."""
    ladder = [Belief(6, 4, 6, 4, 2.0), Belief(9, 1, 9, 1, 3.8)]
    weighed = weigh(ladder, 1, [True, True])
    even = [Belief(6, 4, 6, 4, 2.0 + weighed.expected[1] - weighed.expected[0]), ladder[1]]
    assert weigh(even, 1, [True, True]).odds(0, 1) == pytest.approx(0.5)
    assert weighed.odds(0, 1) + weighed.odds(1, 0) == pytest.approx(1.0)


def test_where_nothing_follows_a_failure_it_costs_what_it_is_said_to() -> None:
    weighed = weigh([Belief(7, 3, 1, 1, 0.0), Belief(9, 1, 1, 1, 0.1)], 1, [True, True], unsolved=1.0)
    assert weighed.expected == pytest.approx((0.3, 0.2))


def test_tries_thin_out_as_hope_does() -> None:
    """Haiku at 2 against sonnet at 5 is worth it from about 40 % on."""
    odds = []
    for seen in (1, 4, 16, 64):
        ladder = [Belief(3 + 0.25 * seen, 1 + 0.75 * seen, 6, 4, 2.0), Belief(90, 10, 90, 10, 5.0)]
        odds.append(trial_odds(weigh(ladder, 1, [False, True]), ladder, [seen >= 10, True]))
    assert odds == sorted(odds, reverse=True)
    assert odds[0] > 0.5 and odds[-1] == 0.0, "and stop altogether below the faintest"
    assert all(one == 0 or one >= FAINT for one in odds)


def test_a_tier_that_cannot_be_good_enough_is_not_tried() -> None:
    ladder = [Belief(45, 55, 6, 4, 1.0), Belief(90, 10, 90, 10, 5.0)]
    weighed = weigh(ladder, 1, [False, True])
    assert trial_odds(weighed, ladder, [True, True]) > 0.9
    assert trial_odds(weighed, ladder, [True, True], min_success=0.6) == 0.0
    assert trial_odds(weighed, ladder, [False, True], min_success=0.6) == FAINT, "ten outcomes it gets anyway"


def test_chance_above() -> None:
    belief = Belief(80, 20, 1, 1, 1.0)
    assert chance_above(belief, 0.8) == pytest.approx(0.5)
    assert chance_above(belief, 0.6) > 0.99
    assert chance_above(belief, 0.95) < 0.01


def test_tally_halves_by_the_half_life(tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 8, 0, 1_000, at=NOW - 60 * DAY)
    with Outcomes(tmp_path) as store:
        found = tally(store.sums(["*"]), NOW // DAY, 60)
    assert found["*", "haiku"].solved == pytest.approx(4.0)
    assert found["*", "haiku"].nusd == pytest.approx(4_000)


# ── neighbours ────────────────────────────────────────────────────────────────────────────────────────────────


def test_similar_titles_are_found_and_weigh_little() -> None:
    rows = [("parse dates in invoices", "haiku", 0, 10, 0)] * 15 + [("rename the logo", "haiku", 1, 10, 0)] * 15
    filler = [(f"something else number{n} entirely{n}", "haiku", 1, 10, 0) for n in range(300)]
    near = Neighbours([*rows, *filler]).tallies("parse dates of invoices")
    assert near["haiku"].solved == 0
    assert 0 < near["haiku"].stays <= 8.0 + 1e-9


def test_nothing_similar_is_nothing() -> None:
    assert Neighbours([("rename the logo", "haiku", 1, 10, 0)]).tallies("payment fails") == {}
    assert Neighbours([]).tallies("x") == {}


def test_by_meaning_where_the_words_differ() -> None:
    rows = [("Repair the login form", "haiku", 0, 10, 0), ("Bump the year in the footer", "haiku", 1, 10, 0)]
    found = EmbeddedNeighbours(rows).tallies("Fix the sign-in form")
    assert found["haiku"].stays > 0 and found["haiku"].solved == 0
    assert Neighbours(rows).tallies("Fix sign-in") == {}
    assert EmbeddedNeighbours([]).tallies("anything") == {}


def test_embedded_neighbours_are_weighed_in(strategy: Strategy, tmp_path: Path) -> None:
    fill(tmp_path, "haiku", 48, 2, 4_000_000, description="Cope with lists that are empty")
    fill(tmp_path, "sonnet", 40, 2, 14_000_000)
    assert "similar issues weighed in" in why(strategy(neighbours="embedded"))


@pytest.mark.parametrize(("outcomes", "best"), [(12, 1), (1_200, 0)])
def test_a_gain_counts_only_when_it_is_sure(outcomes: int, best: int) -> None:
    """Two thirds solved at 8.5 against nearly all at 14: cheaper on average, but of twelve outcomes nobody knows."""
    cheap = Belief(outcomes * 2 / 3, outcomes / 3, 2, 1, 8.5)
    weighed = weigh([cheap, Belief(290, 10, 290, 10, 14.0)], 1, [True, True])
    assert weighed.expected[0] < 0.95 * weighed.expected[1], "in the mean it is a gain"
    assert weighed.best == best
