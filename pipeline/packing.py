"""A model that reads packed batches: reviews end to end in one row, attention only within a review, no padding at all.

The arithmetic is that of a padded batch without the padding: the same logits and gradients to rounding. Weights, their
names and the saved checkpoint are those of the ordinary model, which reads ordinary batches as before.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline.model import first_position

ATTENTION = "packed"  # our name among transformers' attention functions
# Classifiers whose layers have the same parts by the same names, and whose heads read the first token alone.
SUPPORTED = ("BertForSequenceClassification", "ElectraForSequenceClassification", "RobertaForSequenceClassification")


@dataclass(frozen=True)
class Layout:
    """Where the reviews of a packed row are, as far as the host must know it.

    Attributes:
        runs: (length in tokens, number of reviews) of each stretch of reviews of equal length, shortest first.
    """

    runs: tuple[tuple[int, int], ...]

    @property
    def shortest(self) -> int:
        """Length of the shortest review in tokens."""
        return self.runs[0][0]

    @property
    def longest(self) -> int:
        """Length of the longest review in tokens."""
        return self.runs[-1][0]


def can_pack(model: PreTrainedModel) -> bool:
    """Whether `accept_packed` knows this model."""
    return type(model).__name__ in SUPPORTED and not model.config.is_decoder


def accept_packed(model: PreTrainedModel) -> None:
    """Make a classifier read packed batches (`pipeline.batching.PackingCollator`) as well as ordinary ones.

    Only the instance's `forward`s are changed, and those of its last layer; wrappers (DistributedDataParallel, FSDP,
    autocast) find them where they always are, and nothing of it is saved.
    """
    assert can_pack(model), type(model)
    model.set_attn_implementation(ATTENTION)
    last = model.base_model.encoder.layer[-1]
    last.forward = _packed_or_not(last.forward, functools.partial(_last_layer, last))
    model.forward = _packed_or_not(model.forward, functools.partial(_classify, model))


def _packed_or_not(ordinary: Callable, packed: Callable) -> Callable:
    @functools.wraps(ordinary)
    def forward(*args: Any, boundaries: torch.Tensor | None = None, **kwargs: Any) -> Any:
        return ordinary(*args, **kwargs) if boundaries is None else packed(*args, boundaries=boundaries, **kwargs)

    return forward


def _classify(
    model: PreTrainedModel,
    *,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    boundaries: torch.Tensor,
    places: torch.Tensor,
    layout: Layout | None = None,
    segment_ids: torch.Tensor | None = None,
) -> SequenceClassifierOutput:
    """The model's forward over one packed row; see `PackingCollator` for the arguments.

    Returns:
        `logits`, [reviews, classes], in the order of the batch's labels.
    """
    body = model.base_model
    hidden = body.embeddings(input_ids=input_ids, position_ids=position_ids + first_position(model.config))
    if hasattr(body, "embeddings_project"):  # ELECTRA, where embeddings are narrower than layers
        hidden = body.embeddings_project(hidden)
    # Made once, here: where a layer is computed a second time (activation checkpointing) nested tensors want the same.
    firsts = torch.arange(len(boundaries), dtype=boundaries.dtype, device=boundaries.device)
    for layer in body.encoder.layer:
        hidden = layer(hidden, layout=layout, boundaries=boundaries, firsts=firsts, segment_ids=segment_ids)
    first = hidden.transpose(0, 1)[places]  # [reviews, 1, hidden]: heads take the first token of each row
    if hasattr(body, "pooler") and body.pooler is not None:  # BERT; the others' heads begin with the first token
        first = model.dropout(body.pooler(first))
    return SequenceClassifierOutput(logits=model.classifier(first))


def _last_layer(
    layer: torch.nn.Module, hidden: torch.Tensor, *, boundaries: torch.Tensor, **where: Any
) -> torch.Tensor:
    """The last layer for first tokens alone, which are all that the head reads: keys and values of all tokens, the
    rest of the layer for one token a review. [1, tokens, hidden] -> [1, reviews, hidden].
    """
    attention = layer.attention.self
    first = hidden[:, boundaries[:-1]]

    def heads(tokens: torch.Tensor, projection: torch.nn.Module) -> torch.Tensor:
        return projection(tokens).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

    context, _ = packed_attention(
        attention,
        heads(first, attention.query),
        heads(hidden, attention.key),
        heads(hidden, attention.value),
        None,
        dropout=attention.dropout.p if attention.training else 0.0,
        scaling=attention.scaling,
        boundaries=boundaries,
        **where,
    )
    return layer.feed_forward_chunk(layer.attention.output(context.flatten(2), first))


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    boundaries: torch.Tensor | None = None,
    firsts: torch.Tensor | None = None,
    layout: Layout | None = None,
    segment_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each review of a packed row; transformers' own (`sdpa`) for an ordinary batch.

    Args:
        module: the layer's self-attention.
        query: [1, heads, tokens, size]; or [1, heads, reviews, size], the first token of each review alone.
        key, value: [1, heads, tokens, size].
        attention_mask: of an ordinary batch.
        dropout: the probability that a weight is dropped.
        scaling: what the scores are multiplied by.
        boundaries: as in a packed batch; None for an ordinary one.
        firsts: the boundaries among first tokens alone: 0, 1, 2 ...
        layout, segment_ids: whichever of them the packed batch has.

    Returns:
        [1, tokens or reviews, heads, size], and None for the weights, which are not kept.
    """
    if boundaries is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    first_only = query.shape[2] != key.shape[2]
    if layout is None:
        of_query = firsts[:-1] if first_only else segment_ids
        return _by_mask(query, key, value, of_query, segment_ids, dropout, scaling), None
    fused = _has_variable_length_kernel(query)
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # [1, tokens, heads, size]
    if fused:
        of_query = firsts if first_only else boundaries
        return _by_nested(query, key, value, layout, of_query, boundaries, dropout, scaling), None
    return _by_runs(query, key, value, layout, first_only, dropout, scaling), None


def _has_variable_length_kernel(query: torch.Tensor) -> bool:
    """Whether nested tensors find a fused kernel. Without one they are taken apart review by review, and the host
    waits for the device at each: in bf16 on cards older than Ampere, and for heads of odd sizes (torch 2.13,
    `sdp_utils.cpp` and `torch/nested/_internal/sdpa.py`).
    """
    if query.device.type != "cuda" or query.shape[-1] % 8:
        return False
    return query.dtype != torch.bfloat16 or torch.cuda.get_device_capability(query.device) >= (8, 0)


def _by_runs(query, key, value, layout, first_only, dropout, scaling) -> torch.Tensor:
    """Reviews of equal length stand side by side in the row, and so are a dense batch as they lie: nothing is copied,
    masked or padded.
    """

    def stretches(tensor: torch.Tensor, one_each: bool) -> list[torch.Tensor]:
        sizes = [count if one_each else length * count for length, count in layout.runs]
        parts = zip(tensor.squeeze(0).split(sizes), layout.runs, strict=True)
        return [part.unflatten(0, (count, -1)).transpose(1, 2) for part, (_, count) in parts]

    queries, keys, values = stretches(query, first_only), stretches(key, False), stretches(value, False)
    contexts = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling).transpose(1, 2).flatten(0, 1)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(contexts).unsqueeze(0)


def _by_nested(query, key, value, layout, of_query, of_key, dropout, scaling) -> torch.Tensor:
    """One kernel for the whole row, which is told where reviews begin: torch's attention of nested tensors. It takes
    the variable-length kernel that the numbers allow: flash in 16 bits, the memory-efficient one in 32, both with
    dropout, which `torch.nn.attention.varlen` has not (2.13).
    """

    def nest(tensor: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        # The lengths are told, or else the host would wait for the device to say them.
        shortest, longest = (layout.shortest, layout.longest) if offsets is of_key else (1, 1)
        nested = torch.nested.nested_tensor_from_jagged(
            tensor.squeeze(0), offsets, min_seqlen=shortest, max_seqlen=longest
        )
        return nested.transpose(1, 2)

    nested = (nest(query, of_query), nest(key, of_key), nest(value, of_key))
    context = F.scaled_dot_product_attention(*nested, dropout_p=dropout, scale=scaling)
    return context.transpose(1, 2).values().unsqueeze(0)


def _by_mask(query, key, value, of_query, of_key, dropout, scaling) -> torch.Tensor:
    """Every token against every token of the row, with a mask: more work, but the same program for every batch."""
    same = (of_query.flatten()[:, None] == of_key)[None, None]
    return F.scaled_dot_product_attention(query, key, value, same, dropout_p=dropout, scale=scaling).transpose(1, 2)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
