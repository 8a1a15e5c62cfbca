"""The trigger language: what holds, what is printed, and where an error points."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.routing.trigger import AllOf, AnyOf, Condition, Facts, Node, Not, Trigger, parse

ISSUE = Facts(
    labels=("security", "complexity:complex", "area:Web UI"),
    type="bug",
    priority=0,
    title="Race condition in login",
    body="Tokens expire early",
    files=("src/auth/login.py", "src/auth/deep/er/token.py", "README.md", "db/schema.sql"),
    escalated=True,
    cost=Decimal("0.50"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label:security", True),
        ("label:Security", True),
        ("label:sec", False),
        ('label:"area:Web UI"', True),
        ("complexity:complex", True),
        ("complexity:simple", False),
        ("type:bug", True),
        ("type:task", False),
        ("priority<=0", True),
        ("priority<0", False),
        ("priority != 0", False),
        ("priority == 0", True),
        ("files>=4", True),
        ("files > 4", False),
        ("cost>0.5", False),
        ("cost>=$0.5", True),
        ("touches:src/auth/**", True),
        ("touches:src/auth", True),
        ("touches:src/*.py", False),
        ("touches:src/auth/*.py", True),
        ("touches:**/token.py", True),
        ("touches:*.sql", True),
        ("touches:/*.sql", False),
        ("touches:auth/**", False),
        ("touches:**/auth/**", True),
        ("touches:READ?E.md", True),
        ('pattern:"race\\s+condition"', True),
        ("pattern:^tokens", True),
        ("pattern:sql", False),
        ("escalated", True),
        ("NOT escalated", False),
        ("not not escalated", True),
        ("label:x OR label:security AND type:bug", True),
        ("(label:security OR label:x) AND type:task", False),
        ("label:security OR label:x AND type:task", True),
        ("NOT label:x AND type:bug", True),
        ("label:x or(type:bug and priority<=1)", True),
    ],
)
def test_what_holds(text: str, expected: bool) -> None:
    assert parse(text).holds(ISSUE) is expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label:security complexity:complex", "column 16: expected AND or OR, got 'complexity'"),
        ("", "column 1: expected a condition such as label:security, got the end"),
        ("label:x AND", "column 12: expected a condition such as label:security, got the end"),
        ("OR label:x", "column 1: expected a condition such as label:security, got 'OR'"),
        ("(label:x", "column 9: expected AND, OR or ')', got the end"),
        ("label:x)", "column 8: expected AND or OR, got ')'"),
        ("label=x", "column 6: expected ':' as in label:x, got '=x'"),
        ("label:", "column 7: expected a value after label:, got the end"),
        ("label: AND type:bug", "column 8: expected a value after label:, got 'AND'"),
        ("priority:1", "column 9: expected a comparison such as priority>=1, got ':1'"),
        ("files>=many", "column 8: expected a number, got 'many'"),
        ("files>=4x", "column 8: expected a number, got '4x'"),
        ('label:"open', "column 7: this quotation mark is never closed"),
        ("pattern:[a", "column 9: is no regular expression: unterminated character set at position 0"),
        ("&& label:x", "column 1: expected a condition such as label:security, got '&&'"),
    ],
)
def test_errors_point_at_the_column(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "pipelines/std.yaml", ("phases", "3_review", "trigger"))
    assert caught.value.message == f"pipelines/std.yaml: phases > 3_review > trigger, {problem}"


def test_an_unknown_condition_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"column 4: unknown condition 'lable'; known: .* did you mean 'label'"):
        parse("   lable:x")


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested"):
        parse("(" * 5000)
    assert parse("(" * 40 + "escalated" + ")" * 40).holds(ISSUE)


def test_explain_answers_every_condition() -> None:
    assert parse("label:security OR files>=9").explain(ISSUE) == "label:security yes, files>=9 no"


def test_printing_keeps_the_meaning() -> None:
    text = 'NOT (label:a OR label:"b c") AND (type:bug OR escalated)'
    assert str(parse(text)) == text


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), min_size=1)
leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Condition, st.sampled_from(("label", "type", "complexity", "touches")), st.just(":"), texts),
    st.builds(
        Condition,
        st.sampled_from(("priority", "files", "cost")),
        st.sampled_from(("<", ">", "<=", ">=", "=", "!=")),
        st.integers(0, 999).map(str),
    ),
    st.just(Condition("pattern", ":", r'\ba "quoted" word\b')),
    st.just(Condition("escalated")),
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(AllOf, st.lists(part, min_size=2, max_size=4).map(tuple)),
        st.builds(AnyOf, st.lists(part, min_size=2, max_size=4).map(tuple)),
    ),
    max_leaves=12,
)


@given(trees)
def test_what_is_printed_parses_to_the_same(root: Node) -> None:
    assert parse(str(Trigger(root))).root == root


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from('label : pattern " ( ) AND or NOT x <= 4 files \\ [ *'.split(" "))).map(" ".join),
    )
)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        trigger = parse(text)
    except ConfigError as error:
        assert "column" in error.message
    else:
        trigger.holds(ISSUE)
        assert parse(str(trigger)) == trigger


@pytest.mark.parametrize(
    "text",
    ["label:'area:Web UI'", "label:'security'", 'label:"it\'s" OR label:security', "pattern:'Tokens expire'",
     'label:"a&&b" OR label:security', "label:team=web OR label:security"],
)  # fmt: skip
def test_either_quotation_mark_will_do(text: str) -> None:
    assert parse(text).holds(ISSUE)
    assert parse(str(parse(text))).holds(ISSUE)


@pytest.mark.parametrize("label", ["Complexity: Complex", "complexity:complex ", "COMPLEXITY:COMPLEX"])
def test_labels_are_read_as_routing_reads_them(label: str) -> None:
    assert parse("complexity:complex").holds(Facts(labels=(label,)))
    assert parse("label:complexity:complex").holds(Facts(labels=(label,)))


@pytest.mark.parametrize(
    ("text", "column", "mark"),
    [
        ("label:security&&label:x", 15, "&"),
        ("label:security,critical", 15, ","),
        ("label:security|critical", 15, "|"),
        ("priority<=1 AND touches:src/{a,b}/**", 29, "{"),
    ],
)
def test_what_would_never_fire_is_refused(text: str, column: int, mark: str) -> None:
    """A review gate that never opens is worse than none."""
    with pytest.raises(ConfigError, match=f"column {column}: '\\{mark}' joins nothing here"):
        parse(text)


def test_negated_globs_are_told_how_to_be_written() -> None:
    with pytest.raises(ConfigError, match="write NOT touches"):
        parse("touches:!docs/**")
