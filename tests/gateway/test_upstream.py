"""Answers of providers that have to be had whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from harness.gateway.upstream import Unreachable, gathered


async def test_an_answer_without_end_is_given_up() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 2**19

    with pytest.raises(Unreachable, match="longer than 2 MiB"):
        await gathered(endless(), most=2 * 2**20)
    assert given == 5


async def test_pieces_come_together() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"", b"bc"):
            yield piece

    assert await gathered(pieces()) == b"abc"
