"""What went through the gateway: the newest requests, and totals by model since the start."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from harness.gateway.exchange import Record
from harness.types import Usage

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(slots=True)
class Totals:
    """Sums over one model's requests; seconds of the whole exchange, by upper bound of each bucket."""

    requests: int = 0
    errors: int = 0
    fallbacks: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(_BUCKETS))

    def add(self, record: Record) -> None:
        self.requests += 1
        self.errors += record.status >= 400 or record.error is not None
        self.fallbacks += bool(record.fallbacks)
        self.seconds += record.seconds
        for number, bound in enumerate(_BUCKETS):
            self.buckets[number] += record.seconds <= bound
        usage: Usage | None = record.usage
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.cache_read_tokens += usage.cache_read_tokens
            self.cache_write_tokens += usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
            self.output_tokens += usage.output_tokens
        if record.usd is not None:
            self.usd += Decimal(record.usd)
        elif record.status < 400:
            self.unpriced += 1


class Ledger:
    """Bounded: memory does not grow with the number of requests."""

    def __init__(self, keep: int = 300) -> None:
        self.started = time.time()
        self.recent: deque[Record] = deque(maxlen=keep)
        self.by_model: dict[str, Totals] = {}
        self.decisions: dict[str, int] = {}
        self.in_flight = 0

    def add(self, record: Record) -> None:
        self.recent.append(record)
        model = record.model or "none"
        if model not in self.by_model and len(self.by_model) >= 500:  # wildcards let clients invent names
            model = "others"
        self.by_model.setdefault(model, Totals()).add(record)
        route = record.route or "none"
        if route in self.decisions or len(self.decisions) < 500:
            self.decisions[route] = self.decisions.get(route, 0) + 1

    def metrics(self) -> str:
        """Prometheus' text exposition format."""
        lines = [
            "# HELP harness_requests_in_flight Requests under way.",
            "# TYPE harness_requests_in_flight gauge",
            f"harness_requests_in_flight {self.in_flight}",
        ]
        for name, kind, text in (
            ("requests", "counter", "Requests answered."),
            ("errors", "counter", "Requests that ended in an error."),
            ("fallbacks", "counter", "Requests that a later model of the chain answered."),
            ("input_tokens", "counter", "Input tokens, cached ones not counted."),
            ("cache_read_tokens", "counter", "Input tokens read from a provider's cache."),
            ("cache_write_tokens", "counter", "Input tokens written to a provider's cache."),
            ("output_tokens", "counter", "Output tokens."),
            ("usd", "counter", "US dollars at list price, where known."),
            ("unpriced", "counter", "Requests whose price is unknown."),
        ):
            lines += [f"# HELP harness_{name}_total {text}", f"# TYPE harness_{name}_total {kind}"]
            lines += [
                f'harness_{name}_total{{model="{_label(model)}"}} {getattr(totals, name)}'
                for model, totals in self.by_model.items()
            ]
        lines += [
            "# HELP harness_request_seconds Time from request to the end of the answer.",
            "# TYPE harness_request_seconds histogram",
        ]
        for model, totals in self.by_model.items():
            label = f'model="{_label(model)}"'
            lines += [
                f'harness_request_seconds_bucket{{{label},le="{bound}"}} {count}'
                for bound, count in zip(_BUCKETS, totals.buckets, strict=True)
            ]
            lines += [
                f'harness_request_seconds_bucket{{{label},le="+Inf"}} {totals.requests}',
                f"harness_request_seconds_sum{{{label}}} {totals.seconds:.6f}",
                f"harness_request_seconds_count{{{label}}} {totals.requests}",
            ]
        lines += ["# HELP harness_routes_total Decisions by route.", "# TYPE harness_routes_total counter"]
        lines += [f'harness_routes_total{{route="{_label(route)}"}} {count}' for route, count in self.decisions.items()]
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
