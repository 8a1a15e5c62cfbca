"""Bills by the published caching rules."""

from __future__ import annotations

from harness.models.prompt_cache import LOOK_BACK, Part, PromptCache, anthropic_parts

LONG = "x" * 4 * 2000
"""2,000 tokens."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def counts(cache: PromptCache, *parts: Part, began: bool = True) -> tuple[int, int, int, int]:
    """(plain, read, written for 5 minutes, written for an hour) of one call."""
    bill = cache.explicit("m", parts)
    if began:
        cache.began(bill)
    usage = bill.usage
    return usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens


def test_one_write_then_reads() -> None:
    cache = PromptCache()
    assert counts(cache, Part(LONG, "5m"), Part("y" * 40)) == (10, 0, 2000, 0)
    assert counts(cache, Part(LONG, "5m"), Part("z" * 80)) == (20, 2000, 0, 0)


def test_an_entry_can_be_read_only_once_its_response_has_begun() -> None:
    cache = PromptCache()
    early = cache.explicit("m", (Part(LONG, "5m"),))
    assert counts(cache, Part(LONG, "5m"), began=False) == (0, 0, 2000, 0)
    cache.began(early)
    assert counts(cache, Part(LONG, "5m")) == (0, 2000, 0, 0)


def test_short_prefixes_and_unmarked_ones_are_plain() -> None:
    cache = PromptCache()
    for _ in range(2):
        assert counts(cache, Part("x" * 4 * 1023, "5m")) == (1023, 0, 0, 0)
        assert counts(cache, Part(LONG)) == (2000, 0, 0, 0)
    assert counts(cache, Part("x" * 4 * 1024, "5m")) == (0, 0, 1024, 0)


def test_another_model_and_another_prefix_read_nothing() -> None:
    cache = PromptCache()
    counts(cache, Part(LONG, "5m"))
    assert cache.explicit("other", (Part(LONG, "5m"),)).usage.cache_read_tokens == 0
    assert counts(cache, Part("a"), Part(LONG, "5m"))[1] == 0


def test_lifetimes_and_that_reading_renews_them() -> None:
    clock = Clock()
    cache = PromptCache(clock=clock)
    counts(cache, Part(LONG, "5m"))
    for clock.now in (299, 598):
        assert counts(cache, Part(LONG, "5m"))[1] == 2000
    clock.now = 900
    assert counts(cache, Part(LONG, "5m")) == (0, 0, 2000, 0)
    assert counts(cache, Part("b" + LONG, "1h")) == (0, 0, 0, 2001)
    clock.now += 3599
    assert counts(cache, Part("b" + LONG, "1h"))[1] == 2001


def test_a_growing_conversation_writes_only_what_is_new() -> None:
    cache = PromptCache()
    talk = [Part(LONG, "5m"), Part("a" * 400)]
    assert counts(cache, *talk[:-1], Part(talk[-1].text, "5m")) == (0, 0, 2100, 0)
    talk += [Part("b" * 400), Part("c" * 400)]
    assert counts(cache, *talk[:-1], Part(talk[-1].text, "5m")) == (0, 2100, 200, 0)


def test_the_lookup_goes_back_over_a_bounded_number_of_blocks() -> None:
    for blocks, read in ((LOOK_BACK - 1, 2000), (LOOK_BACK, 0)):
        cache = PromptCache()
        counts(cache, Part(LONG, "5m"))
        more = [Part("abcd")] * (blocks - 1)
        assert counts(cache, Part(LONG), *more, Part("end!", "5m"))[1] == read


def test_automatic_caching_reads_the_longest_prefix_and_charges_no_write() -> None:
    cache = PromptCache()
    first = cache.automatic("m", (Part(LONG), Part("a" * 400)))
    assert (first.usage.input_tokens, first.usage.cache_read_tokens) == (2100, 0)
    cache.began(first)
    second = cache.automatic("m", (Part(LONG), Part("b" * 400)))
    assert (second.usage.input_tokens, second.usage.cache_read_tokens) == (100, 2000)


def test_a_body_is_read_in_the_order_in_which_it_is_cached() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "system": [{"type": "text", "text": "rules", "cache_control": mark}],
        "tools": [{"name": "bash", "cache_control": {"type": "ephemeral"}}],
    }
    tool, system, message = anthropic_parts(body)
    assert ("bash" in tool.text, tool.ttl) == (True, "5m")
    assert (system.text, system.ttl) == ("systemrules", "1h")
    assert (message.text, message.ttl) == ("userhi", None)
