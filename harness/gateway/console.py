"""The operations page at `/`: what came in, what it was routed to and why, what it cost; one page, no network."""

from __future__ import annotations

import time
from collections.abc import Iterable
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from harness.gateway.exchange import Record
from harness.gateway.ledger import Totals
from harness.gateway.looking import may_look
from harness.gateway.service import Gateway
from harness.markup import STYLE, Html, join, tag

_SCRIPT = """
const live = document.getElementById("live"), state = document.getElementById("state");
async function refresh() {
  try {
    const answer = await fetch("gateway/live" + location.search, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const scroll = live.querySelector(".scroll")?.scrollLeft ?? 0;
    live.innerHTML = await answer.text();
    const box = live.querySelector(".scroll");
    if (box) box.scrollLeft = scroll;
    state.textContent = "live";
  } catch (error) { state.textContent = "not connected, trying again…"; }
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}
setTimeout(refresh, 2000);
"""
_HEADERS = {
    "cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'",
}  # fmt: skip
SHOWN = 100


def routes(gateway: Gateway) -> list[Route]:
    """`/` and the part of it that is fetched again."""

    async def page(request: Request) -> Response:
        return _refused(gateway, request) or HTMLResponse(_page(gateway), headers=_HEADERS)

    async def live(request: Request) -> Response:
        return _refused(gateway, request) or HTMLResponse(_live(gateway), headers=_HEADERS)

    return [Route("/", page), Route("/gateway/live", live)]


def _refused(gateway: Gateway, request: Request) -> Response | None:
    if may_look(gateway.settings, request):
        return None
    return PlainTextResponse("this page needs one of the gateway's tokens: /?token=…\n", 401)


def _page(gateway: Gateway) -> str:
    head = tag("head", tag("meta", charset="utf-8"), tag("title", "Gateway — harness"),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("style", Html(STYLE.read_text("utf-8"))))  # fmt: skip
    links = tag("span", tag("a", "runs", href="runs"), " · ", tag("a", "metrics", href="metrics"), " · ",
                tag("span", "live", id="state"))  # fmt: skip
    top = tag("div", tag("span", tag("b", "harness"), " gateway"), links, class_="brand")
    body = tag("body", tag("main", top, tag("div", _live(gateway), id="live")), tag("script", Html(_SCRIPT)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en")


def _live(gateway: Gateway) -> Html:
    recent = list(reversed(gateway.ledger.recent))[:SHOWN]
    return join(
        (
            tag("h1", "Requests"),
            _figures(gateway),
            _problems(gateway),
            _recent(recent),
            _models(gateway),
            _sessions(recent),
        )
    )


def _figures(gateway: Gateway) -> Html:
    totals = gateway.ledger.by_model.values()
    requests, errors = sum(t.requests for t in totals), sum(t.errors for t in totals)
    usd, unpriced = sum((t.usd for t in totals), Decimal(0)), sum(t.unpriced for t in totals)
    read = sum(t.input_tokens + t.cache_read_tokens + t.cache_write_tokens for t in totals)
    cached = sum(t.cache_read_tokens for t in totals)
    figures = (
        ("Requests", f"{requests:,}", f"{gateway.ledger.in_flight} under way, since {_ago(gateway.ledger.started)}"),
        ("Errors", f"{errors:,}", f"{errors / requests:.1%} of all" if requests else "none yet"),
        ("Spent", f"${usd:.4f}", f"{unpriced:,} requests without a known price" if unpriced else "at list prices"),
        ("Tokens read", f"{read:,}", f"{cached / read:.0%} from a cache" if read else "none yet"),
        ("Tokens written", f"{sum(t.output_tokens for t in totals):,}", ""),
    )  # fmt: skip
    return tag("div", (tag("div", tag("div", name, class_="name"), tag("div", value, class_="value"),
                           tag("div", aside, class_="aside"), class_="figure") for name, value, aside in figures),
               class_="figures")  # fmt: skip


def _problems(gateway: Gateway) -> Html | None:
    resting = gateway.cooldown.resting()
    told = [f"{model} rests for {left:.0f} s: {why}" for model, (left, why) in resting.items()]
    told += [problem for problem in gateway.problems() if problem.partition(":")[0] not in resting]
    if not told:
        return None
    return tag("div", tag("h2", "Needs attention"), tag("ul", (tag("li", line) for line in told)), class_="next warn")


def _recent(records: Iterable[Record]) -> Html:
    head = ("", "Asked for", "Routed to", "Route", "Why", "Tokens in → out", "Cached", "USD", "Time")
    rows = [_request(record) for record in records]
    if rows:
        return _section("Newest first", head, {0, 5, 6, 7, 8}, rows)
    hint = tag("p", "Nothing yet. Point a client at this address.", class_="quiet")
    return tag("section", tag("h2", "Newest first"), tag("div", hint, class_="card"))


def _request(record: Record) -> Html:
    usd = f"${Decimal(record.usd):.5f}" if record.usd else "—"
    numbers = (_tokens(record), _share(record), usd, f"{record.seconds:.2f} s")
    why = tag("td", record.reason, tag("div", record.error, class_="quiet") if record.error else None)
    return tag(
        "tr",
        tag("td", _ago(record.at), class_="right quiet"),
        tag("td", record.requested or "—"),
        tag("td", _model(record), style="white-space:nowrap"),
        tag("td", record.route or "—"),
        why,
        (tag("td", number, class_="right") for number in numbers),
    )


def _model(record: Record) -> Html:
    name = tag("span", record.model or "—")
    notes: list[Html] = []
    if record.status >= 400 or record.error:
        notes.append(tag("span", str(record.status or "broke off"), class_="pill bad"))
    if record.translated:
        notes.append(tag("span", "translated", class_="pill none"))
    if record.fallbacks:
        notes.append(tag("span", "fallback", class_="pill warn", title="; ".join(record.fallbacks)))
    return join((name, tag("div", (join((note, " ")) for note in notes)))) if notes else name


def _models(gateway: Gateway) -> Html | None:
    head = ("Model", "Requests", "Errors", "Tokens in", "Tokens out", "Cached", "USD", "Mean time")
    busiest = sorted(gateway.ledger.by_model.items(), key=lambda item: -item[1].requests)
    rows = [_total(model, totals) for model, totals in busiest]
    return _section("By model", head, set(range(1, 8)), rows) if rows else None


def _total(model: str, totals: Totals) -> Html:
    read = totals.input_tokens + totals.cache_read_tokens + totals.cache_write_tokens
    numbers = (
        f"{totals.requests:,}", f"{totals.errors:,}", f"{read:,}", f"{totals.output_tokens:,}",
        f"{totals.cache_read_tokens / max(1, read):.0%}", f"${totals.usd:.4f}",
        f"{totals.seconds / max(1, totals.requests):.2f} s",
    )  # fmt: skip
    return tag("tr", tag("td", model), (tag("td", number, class_="right") for number in numbers))


def _sessions(records: Iterable[Record]) -> Html | None:
    newest: dict[str, Record] = {}
    for record in records:
        if record.session and record.pinned:
            newest.setdefault(f"{record.session} {record.requested}", record)
    rows = [
        tag("tr", tag("td", tag("code", r.session)), tag("td", r.requested or "—"), tag("td", r.model),
            tag("td", _ago(r.at), class_="right"))
        for r in newest.values()
    ]  # fmt: skip
    return _section("Pinned sessions", ("Session", "Asked for", "Pinned to", "Last used"), {3}, rows) if rows else None


def _section(title: str, names: tuple[str, ...], right: set[int], rows: list[Html]) -> Html:
    """A table in a card; columns in `right` hold numbers."""
    cells = (tag("th", name, class_="right" if number in right else None) for number, name in enumerate(names))
    table = tag("table", tag("thead", tag("tr", cells)), tag("tbody", rows))
    return tag("section", tag("h2", title), tag("div", table, class_="card scroll"))


def _tokens(record: Record) -> str:
    return f"{record.usage.total_input:,} → {record.usage.output_tokens:,}" if record.usage else "—"


def _share(record: Record) -> str:
    return f"{record.usage.cache_share:.0%}" if record.usage and record.usage.total_input else "—"


def _ago(at: float) -> str:
    seconds = max(0.0, time.time() - at)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
