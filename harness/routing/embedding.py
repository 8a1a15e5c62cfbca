"""A text as 384 numbers: all-MiniLM-L6-v2 in 8 bits on ONNX Runtime, from files in this package; no network.

The only module that imports onnxruntime, tokenizers and numpy's linear algebra for routing; it is loaded by name when a
described route is to be matched. Texts are encoded one by one: 8-bit activations are scaled over the whole batch, and a
text's vector must not depend on its neighbours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from importlib.resources import as_file, files

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

Vector = NDArray[np.float32]

WIDTH = 384
MAX_TOKENS = 128
"""Of a longer text, its first and last 64: people put what they want before or after what they paste."""
KEPT = 20_000
"""Phrases whose vectors stay in memory; 30 MB."""


class Encoder:
    """Texts → vectors of unit length. Safe to share among threads; holds 105 MB."""

    def __init__(self) -> None:
        data = files("harness.routing") / "data"
        options = onnxruntime.SessionOptions()
        # A second thread gained nothing measurable at 128 tokens, and requests are classified side by side anyway.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with as_file(data / "minilm.onnx") as model, as_file(data / "tokenizer.json") as words:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(words))
        self._known: OrderedDict[str, Vector] = OrderedDict()

    def encode(self, text: str) -> Vector:
        """The text's vector, [384]."""
        ids = self._tokenizer.encode(text).ids
        if len(ids) > MAX_TOKENS:
            ids = ids[: MAX_TOKENS // 2] + ids[-MAX_TOKENS // 2 :]
        tokens = np.array([ids], np.int64)
        vector: Vector = self._session.run(None, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})[0][0]
        return vector

    def phrases(self, texts: Iterable[str]) -> Vector:
        """Vectors of phrases that will be asked for again, [texts, 384]; those encoded before come from memory."""
        rows = [self._remembered(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, WIDTH), np.float32)

    def _remembered(self, text: str) -> Vector:
        vector = self._known.get(text)
        if vector is None:
            vector = self._known[text] = self.encode(text)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return vector


@cache
def encoder() -> Encoder:
    """The process's encoder, loaded when first asked for (about 0.1 s)."""
    return Encoder()
