"""HTML and SVG built from values: whatever is not markup already is escaped, so untrusted text cannot become any."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")
"""The one style sheet of reports and console."""
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Text that is markup: made by `tag` and `join`, or from a constant of ours."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """`tag("p", "a < b", class_="note")` → `<p class="note">a &lt; b</p>`.

    Children: markup as it is, iterables of children, None and False left out, everything else as escaped text.
    Attributes: `_` at the end is dropped, elsewhere it is a hyphen; None and False leave it out, True names it only.
    """
    inside = join(children)
    start = f"<{name}{''.join(map(_attribute, attributes, attributes.values()))}>"
    return Html(start if name in _VOID and not inside else f"{start}{inside}</{name}>")


def join(children: Iterable[object]) -> Html:
    """The children one after another, escaped where they are not markup."""
    return Html("".join(map(_text, children)))


def _text(child: object) -> str:
    if child is None or child is False:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(_visible(child), quote=False)
    if isinstance(child, Iterable):
        return join(child)
    return escape(str(child), quote=False)


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(_visible(str(value)))}"'


_CONTROL = {code: "�" for code in (*range(9), 11, 12, *range(14, 32), 127)} | {
    # Marks that reorder text, by which code can be made to read as what it is not.
    code: f"⟨U+{code:04X}⟩"
    for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)
}


def _visible(text: str) -> str:
    return text.translate(_CONTROL)
