"""A session keeps its model: the first request is routed, later ones reuse the decision while they come.

Without a `RoutingBudget` a live pin holds, whatever the next turn looks like. With one, every turn is routed and a
switch happens when its priced loss of the warm cache fits the budget (`switching.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.routing.switching import Pin, Proposal, Rates, RoutingBudget, Settled, Warmth, is_warm, settle
from harness.types import Value

MAX_ENTRIES = 10_000
"""Upper bound of `session_max_entries`."""
EXPLICIT = "x-model-affinity"
IMPLICIT = (
    "x-claude-code-session-id",
    "x-opencode-session",
    "x-session-affinity",
    "x-session-id",
    "session_id",
    "session-id",
)
"""Session headers of Claude Code, opencode and codex; asked in this order."""
LONGEST_ID = 256

log = logging.getLogger(__name__)


class StoreDown(HarnessError):
    """The session store cannot be reached or answered nonsense; sessions are routed as if new until it is back."""


class Session(Value):
    """Whose decision is reused: `id` as the client said it, `key` as it is stored (tenant and lane included)."""

    id: str
    key: str
    explicit: bool


def session_of(headers: Mapping[str, str], *, requested_model: str = "", tenant: str | None = None) -> Session | None:
    """The session a request belongs to, by its headers (names in lower case), or None.

    An id from a client's own session header is split by the model it asked for: Claude Code sends its background
    requests under the same id as the user's, and one must not pin the other. Ids longer than 256 characters are
    stored by their digest.
    """
    given = headers.get(EXPLICIT, "").strip()
    if given:
        return Session(id=given, key=store_key(given, tenant), explicit=True)
    found = next((headers[name].strip() for name in IMPLICIT if headers.get(name, "").strip()), None)
    if found is None:
        return None
    lane = f"{found}/{requested_model}" if requested_model else found
    return Session(id=found, key=store_key(lane, tenant), explicit=False)


def store_key(session_id: str, tenant: str | None = None) -> str:
    """`tenant:id`, or the id alone."""
    short = session_id if len(session_id) <= LONGEST_ID else "sha256:" + _digest(session_id)
    return f"{tenant}:{short}" if tenant else short


def derived_session(
    messages: Sequence[Mapping[str, Any]], tool_names: Iterable[str] = (), tenant: str | None = None
) -> str | None:
    """An id from what stays the same in a conversation: system prompt, tools, first user message; None without one."""
    first = next((_text(message) for message in messages if message.get("role") == "user"), None)
    if not first:
        return None
    return "implicit:" + _digest(_system(messages), sorted(tool_names), first, tenant)[:16]


def prefix_hash(messages: Sequence[Mapping[str, Any]], tool_names: Iterable[str] = ()) -> int:
    """A 64-bit digest of what a provider caches first: system prompt and tools."""
    return int(_digest(_system(messages), sorted(tool_names))[:16], 16)


class PinStore(Protocol):
    """Where pins live. Methods raise StoreDown when the store cannot be used."""

    async def get(self, key: str) -> Pin | None:
        """The live pin, or None."""

    async def put(self, key: str, pin: Pin, ttl_seconds: float | None = None) -> None:
        """Remember the pin for so long (None: the store's own time) from now."""

    async def add(self, key: str, pin: Pin) -> Pin:
        """Remember the pin unless there is a live one; the one that is there afterwards."""

    async def aclose(self) -> None: ...


class MemoryPins:
    """Pins of this process: least recently used goes first, nothing outlives its time."""

    def __init__(
        self, ttl_seconds: float = 600, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ttl_seconds = ttl_seconds
        self.max_entries = max(1, min(max_entries, MAX_ENTRIES))
        self._clock = clock
        self._pins: OrderedDict[str, tuple[float, Pin]] = OrderedDict()

    async def get(self, key: str) -> Pin | None:
        expires, pin = self._pins.get(key, (0.0, None))
        if pin is None:
            return None
        if self._clock() >= expires:
            del self._pins[key]
            return None
        self._pins.move_to_end(key)
        return pin

    async def put(self, key: str, pin: Pin, ttl_seconds: float | None = None) -> None:
        self._pins[key] = (self._clock() + (self.ttl_seconds if ttl_seconds is None else ttl_seconds), pin)
        self._pins.move_to_end(key)
        while len(self._pins) > self.max_entries:
            self._pins.popitem(last=False)

    async def add(self, key: str, pin: Pin) -> Pin:
        present = await self.get(key)
        if present is None:
            await self.put(key, pin)
        return present or pin

    async def aclose(self) -> None:
        self._pins.clear()


class Affinity:
    """Sessions and their decisions, over a store that may fail: then requests are routed as if new, and it says so."""

    def __init__(
        self,
        store: PinStore,
        *,
        budget: RoutingBudget | None = None,
        rates: Callable[[str], Rates | None] = lambda _: None,
        warmth: Callable[[str], Warmth] = lambda _: Warmth(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.budget = budget
        self.problem: str | None = None
        """Why the store cannot be used at present, or None."""
        self._rates, self._warmth, self._clock = rates, warmth, clock

    async def held(self, session: Session) -> Settled | None:
        """The decision that holds for this request without routing it, or None: route, then `settle`.

        Always None under a routing budget, which prices each turn's proposal.
        """
        if self.budget is not None:
            return None
        pin = await self._get(session)
        return None if pin is None else await self._reuse(session, pin)

    async def replayed(self, session: Session, requested_model: str, prefix_hash: int | None) -> Settled | None:
        """The session's last decision, if warm and of the same lane; for tool turns under `route_on_user_only`."""
        pin = await self._get(session)
        if pin is None or pin.requested_model != requested_model:
            return None
        if not is_warm(pin, prefix_hash, self._clock(), self._warmth(pin.anchor_model)):
            return None
        return await self._reuse(session, pin)

    async def settle(self, session: Session, proposal: Proposal, budget: RoutingBudget | None = None) -> Settled:
        """What the session gets when routing proposes this; remembered. `budget` overrides for one request."""
        now, limit = self._clock(), budget or self.budget
        if limit is None:
            return await self._first(session, settle(None, proposal, now=now))
        before = await self._get(session)
        settled = settle(before, proposal, now=now, budget=limit, rates=self._rates, warmth=self._warmth)
        await self._put(session, settled.pin)
        return settled

    async def observed(self, session: Session, model: str, context_tokens: int, cost_usd: Any = 0) -> None:
        """After the answer: how much context the model has read (and so cached), and what the request cost."""
        pin = await self._get(session)
        if pin is None or pin.anchor_model != model:
            return
        changes = {"cached_tokens": context_tokens, "session_cost_usd": pin.session_cost_usd + cost_usd}
        await self._put(session, pin.model_copy(update=changes))

    async def aclose(self) -> None:
        await self.store.aclose()

    async def _first(self, session: Session, fresh: Settled) -> Settled:
        """Bind a new session; of two first requests at once, the earlier one's decision serves both."""
        try:
            pin = await self.store.add(session.key, fresh.pin)
        except StoreDown as error:
            self._down(error)
            return fresh
        self._up()
        if pin is fresh.pin or pin == fresh.pin:
            return fresh
        return _held(pin)

    async def _reuse(self, session: Session, pin: Pin) -> Settled:
        """Using a decision renews its time."""
        renewed = pin.model_copy(update={"last_used": self._clock()})
        await self._put(session, renewed)
        return _held(renewed)

    async def _get(self, session: Session) -> Pin | None:
        try:
            pin = await self.store.get(session.key)
        except StoreDown as error:
            self._down(error)
            return None
        self._up()
        return pin

    async def _put(self, session: Session, pin: Pin) -> None:
        try:
            await self.store.put(session.key, pin)
        except StoreDown as error:
            self._down(error)

    def _down(self, error: StoreDown) -> None:
        if self.problem is None:
            log.warning("%s; sessions are not pinned until it is back", error.message)
        self.problem = error.message

    def _up(self) -> None:
        if self.problem is not None:
            log.warning("the session store is back; sessions are pinned again")
        self.problem = None


def _held(pin: Pin) -> Settled:
    return Settled(models=pin.pool, route=pin.route_name, pinned=True, switched=False, reason="held", pin=pin)


def _system(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_text(message) for message in messages if message.get("role") in ("system", "developer"))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict) and "text" in part)
    return str(content or "")


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
