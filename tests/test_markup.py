"""Markup from values: nothing untrusted becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from harness.markup import Html, join, tag


class Names(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_tag() -> None:
    assert tag("p", "a < b", class_="note") == '<p class="note">a &lt; b</p>'
    assert tag("input", disabled=True, checked=False, value='"') == '<input disabled value="&quot;">'
    assert tag("meta", http_equiv="x") == '<meta http-equiv="x">'


def test_children_of_all_kinds() -> None:
    assert tag("ul", [tag("li", one) for one in "ab"], None, False, 3) == "<ul><li>a</li><li>b</li>3</ul>"
    assert join((Html("<b>"), "<b>")) == "<b>&lt;b&gt;"


def test_marks_that_reorder_text_are_shown() -> None:
    assert tag("code", "if a‮ == b") == "<code>if a⟨U+202E⟩ == b</code>"
    assert "\x00" not in tag("p", "a\x00b\x1b[31m")


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    parser = Names()
    parser.feed(tag("p", text, title=text))
    parser.close()
    assert parser.names == ["p"]
    assert [name for name, _ in parser.attributes] == ["title"]
