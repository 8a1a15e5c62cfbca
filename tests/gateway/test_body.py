"""The model is rewritten in a request's bytes, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.body import parse_object, with_model
from harness.gateway.refusal import Refusal

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=12)
    | st.sampled_from(["model", '"model":']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "a", 'b"', "c\\"]), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(["model", "messages", "a", 'x"y', "back\\"]), json_values, max_size=5)


@given(body=objects, indent=st.sampled_from([None, 0, 2]), ascii=st.booleans())
def test_only_the_model_changes(body: dict[str, Any], indent: int | None, ascii: bool) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    try:
        parsed = parse_object(raw)
    except Refusal:  # lone surrogates are no UTF-8
        return
    changed = with_model(raw, parsed, "new/model")
    assert orjson.loads(changed) == {**parsed, "model": "new/model"}
    if "model" in parsed and isinstance(parsed["model"], str):
        old = json.dumps(parsed["model"], ensure_ascii=ascii).encode()
        assert len(changed) - len(raw) == len(b'"new/model"') - len(old)


@pytest.mark.parametrize(
    "raw,expected",
    [
        (b'{"tools":[{"model":"x"}], "model" : "y" }', b'{"tools":[{"model":"x"}], "model" : "m" }'),
        (b'{"model":"a","model":"b"}', b'{"model":"m","model":"m"}'),
        (b'{"n":1.50e2,"model":null}', b'{"n":1.50e2,"model":"m"}'),
        (b" {}", b' {"model":"m"}'),
        (b'{"a":"model","model":{"x":["}"]},"b":2}', b'{"a":"model","model":"m","b":2}'),
    ],
)
def test_by_example(raw: bytes, expected: bytes) -> None:
    assert with_model(raw, orjson.loads(raw), "m") == expected


def test_an_escaped_key_is_found_too() -> None:
    raw = b'{"\\u006dodel":"a"}'
    assert orjson.loads(with_model(raw, orjson.loads(raw), "m")) == {"model": "m"}
