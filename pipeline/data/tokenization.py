"""Text -> token ids, for training and prediction alike. The only caller of `Dataset.map`."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, List, Value
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from pipeline.data.arrow_folder import progress_bars_disabled
from pipeline.data.cleaning import get_cleaner
from pipeline.runtime.errors import UserError

CHUNK_SIZE = 500  # texts a call of the tokenizers library, which distributes them over the cores
LONG_TEXTS = ("head", "head_tail", "windows")
TOKEN_TYPES = "token_type_ids"

Text = str | tuple[str, str]  # a text, or a pair of texts


class Encoded(NamedTuple):
    """Token ids of several examples, end to end.

    Attributes:
        num_tokens: int32, [examples]; special tokens included, before anything is cut.
        num_windows: int32, [examples]; 1 but for long texts that are read in windows.
        lengths: int32, [windows]; in tokens, at most max_length.
        input_ids: int32, [tokens].
        token_type_ids: int8, [tokens]: 0 for the first text and 1 for the second; empty where the model reads none.
    """

    num_tokens: np.ndarray
    num_windows: np.ndarray
    lengths: np.ndarray
    input_ids: np.ndarray
    token_type_ids: np.ndarray


class TextEncoder:
    """Texts, or pairs of texts -> token ids, not padded.

    The ids are those of `tokenizer(text, truncation=True, max_length=max_length)`, of a pair
    `tokenizer(first, second, truncation="longest_first", max_length=max_length)`. They come from the tokenizers library
    itself: transformers' call also computes offsets and builds Python lists, and takes half as long again (5.23).

    Args:
        tokenizer: a fast tokenizer; stays as it is.
        max_length: in tokens, special tokens included.
        long_text: what is read of an example with more tokens, where a pair is cut in its longer text first.
            `head`: the beginning (or the end, if the tokenizer truncates on the left).
            `head_tail`: the beginning, a quarter of the tokens, and the end (Sun et al. 2019: 128 + 382 of 510).
            `windows`: everything, in windows of max_length that overlap by half.
        pairs: whether examples are pairs.
        clean: the name of a cleaner in `pipeline.data.cleaning`, which every text goes through first.

    Raises:
        UserError: the tokenizer is a slow one, or max_length leaves no token for text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        *,
        long_text: str = "head",
        pairs: bool = False,
        clean: str = "none",
    ) -> None:
        require_fast(tokenizer)
        if long_text not in LONG_TEXTS:
            raise UserError(f"long_text is {long_text}; expected one of {', '.join(LONG_TEXTS)}.")
        # A copy: the settings would stay in the tokenizer's state.
        self.backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.backend.no_truncation()
        self.backend.no_padding()
        self.max_length, self.long_text, self.pairs = max_length, long_text, pairs
        self.token_types = pairs and TOKEN_TYPES in tokenizer.model_input_names
        self._from_left = tokenizer.truncation_side == "left"
        cleaner = get_cleaner(clean)
        self._clean = None if cleaner is get_cleaner("none") else cleaner
        # What a decoder's tokenizer, without special tokens, makes of an empty text. Attention needs a key.
        self._no_tokens = [tokenizer.unk_token_id or tokenizer.eos_token_id or 0]
        num_special = self.backend.num_special_tokens_to_add(pairs)
        if max_length < num_special + 1 + pairs:
            raise UserError(
                f"--max_length {max_length} leaves no token for text: {num_special} are special tokens. "
                f"Use at least {num_special + 1 + pairs}."
            )

    def clean(self, text: Text) -> Text:
        """The text as it is tokenized."""
        if self._clean is None:
            return text
        return self._clean(text) if isinstance(text, str) else (self._clean(text[0]), self._clean(text[1]))

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Encode texts, or pairs if `pairs`."""
        encodings = self.backend.encode_batch_fast(texts if self._clean is None else list(map(self.clean, texts)))
        ids = [encoding.ids or self._no_tokens for encoding in encodings]
        types = [encoding.type_ids or [0] for encoding in encodings] if self.token_types else []
        num_tokens = np.fromiter(map(len, ids), np.int32, len(ids))
        lengths: list[Any] = [[length] for length in num_tokens.tolist()] if self.long_text == "windows" else []
        cut = np.flatnonzero(num_tokens > self.max_length).tolist()
        for index in cut:
            windows = self.kept(encodings[index])
            kept = np.concatenate(windows)
            for rows in (ids, types) if types else (ids,):
                rows[index] = np.array(rows[index])[kept].tolist()
            if lengths:
                lengths[index] = list(map(len, windows))
        if lengths:
            num_windows = np.fromiter(map(len, lengths), np.int32, len(ids))
            flat_lengths = np.fromiter(chain.from_iterable(lengths), np.int32)
        else:
            num_windows = np.ones(len(ids), np.int32)
            flat_lengths = num_tokens.clip(max=self.max_length)
        return Encoded(
            num_tokens,
            num_windows,
            flat_lengths,
            np.fromiter(chain.from_iterable(ids), np.int32, flat_lengths.sum()),
            np.fromiter(chain.from_iterable(types), np.int8),
        )

    def kept(self, encoding: Encoding) -> list[np.ndarray]:
        """Which tokens of an uncut encoding are read: their indices, one array for each window."""
        if len(encoding.ids) <= self.max_length:
            return [np.arange(len(encoding.ids))]
        text_of_token = np.array([-1 if text is None else text for text in encoding.sequence_ids])
        special = np.flatnonzero(text_of_token == -1)
        free = self.max_length - len(special)
        *shorter, longer = sorted(
            (np.flatnonzero(text_of_token == text) for text in range(1 + self.pairs)), key=len
        )  # of two equally long texts the second is taken as the longer one, as the library does
        rest = [self._head(tokens, min(len(tokens), free // 2)) for tokens in shorter]
        budget = free - sum(map(len, rest))
        return [np.sort(np.concatenate([special, *rest, piece])) for piece in self._pieces(longer, budget)]

    def _head(self, tokens: np.ndarray, count: int) -> np.ndarray:
        return tokens[len(tokens) - count :] if self._from_left else tokens[:count]

    def _pieces(self, tokens: np.ndarray, count: int) -> list[np.ndarray]:
        """At most `count` of a text's tokens, or all of them in windows of so many."""
        if self.long_text == "head":
            return [self._head(tokens, count)]
        if self.long_text == "head_tail":
            head = -(-count // 4)
            return [np.concatenate([tokens[:head], tokens[len(tokens) - (count - head) :]])]
        step = count - count // 2
        num_windows = 1 + max(0, -(-(len(tokens) - count) // step))
        return [tokens[start : start + count] for start in range(0, num_windows * step, step)]


def require_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that is not made by the tokenizers library.

    Raises:
        UserError: it is a slow one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which takes minutes where a fast one takes seconds. "
            "Use a model whose tokenizer loads as a fast one (it has a tokenizer.json or a vocab.txt)."
        )


def tokenize(
    blocks: Iterable[Dataset],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    text_columns: Sequence[str] = ("text",),
    *,
    long_text: str = "head",
    clean: str = "none",
) -> Iterator[Dataset]:
    """Add token ids to the rows of each block by a batched map, in memory.

    While one thread turns ids into arrays, the other keeps the tokenizers library busy.

    Args:
        blocks: each with `text_columns`.
        text_columns: one, or two for pairs.
        tokenizer, max_length, long_text, clean: as for `TextEncoder`.

    Returns:
        The blocks with the columns `input_ids` (list of int32) and `num_tokens` (int32, before anything is cut); of
        pairs `token_type_ids` (list of int8) if the tokenizer makes them; with `windows` `window_lengths` (list of
        int32), whose windows lie end to end in the other lists.
    """
    encoder = TextEncoder(tokenizer, max_length, long_text=long_text, pairs=len(text_columns) == 2, clean=clean)
    added = {"num_tokens": Value("int32"), "input_ids": List(Value("int32"))}
    added |= {TOKEN_TYPES: List(Value("int8"))} if encoder.token_types else {}
    added |= {"window_lengths": List(Value("int32"))} if long_text == "windows" else {}

    def add_token_ids(batch: pa.Table) -> pa.Table:
        columns = [batch.column(column).to_pylist() for column in text_columns]
        texts = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        chunks = [texts[start : start + CHUNK_SIZE] for start in range(0, len(texts), CHUNK_SIZE)]
        encoded = Encoded(*map(np.concatenate, zip(*threads.map(encoder.encode, chunks), strict=True)))
        windows = _offsets(encoded.num_windows)
        tokens = _offsets(encoded.lengths)[windows]
        arrays = {
            "num_tokens": pa.array(encoded.num_tokens),
            "input_ids": pa.ListArray.from_arrays(tokens, encoded.input_ids),
            TOKEN_TYPES: encoder.token_types and pa.ListArray.from_arrays(tokens, encoded.token_type_ids),
            "window_lengths": pa.ListArray.from_arrays(windows, encoded.lengths),
        }
        for name in added:
            batch = batch.append_column(name, arrays[name])
        return batch

    options: dict[str, Any] = {"batched": True, "batch_size": 8 * CHUNK_SIZE, "keep_in_memory": True}
    options["new_fingerprint"] = "in-memory"  # otherwise one is computed for every block, for a cache that is not used
    with ThreadPoolExecutor(2) as threads:
        for rows in blocks:
            columns = datasets.Features({**rows.features, **added})
            with progress_bars_disabled():
                tokenized = rows.with_format("arrow").map(add_token_ids, features=columns, **options)
            yield tokenized.with_format(None)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """[n] -> int32, [n + 1]: where each list starts and the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
