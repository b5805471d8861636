"""A model that reads packed batches: sequences end to end in one row, attention only within a sequence, no padding.

The arithmetic is that of a padded batch without the padding: the same logits and gradients to rounding. Weights, their
names and the saved checkpoint are those of the ordinary model, which reads ordinary batches as before.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline.data.collators import SequenceRuns
from pipeline.modeling.loading import first_position

ATTENTION = "packed"  # our name among transformers' attention functions
# Classifiers whose heads read the first token alone, and whose layers have the modules that `_last_layer` and
# `_last_distilbert_layer` name.
PACKED = ("Bert", "Electra", "Roberta", "XLMRoberta", "DistilBert")
SUPPORTED = tuple(f"{name}ForSequenceClassification" for name in PACKED)


def can_pack(model: PreTrainedModel) -> bool:
    """Whether `enable_packing` supports this model. A decoder masks later tokens, which packed attention does not."""
    return type(model).__name__ in SUPPORTED and not getattr(model.config, "is_decoder", False)


def enable_packing(model: PreTrainedModel) -> None:
    """Make a classifier read the batches of `PackingCollator` as well as ordinary ones.

    Only `forward` of this instance and of its last layer is replaced. Wrappers (DistributedDataParallel, FSDP,
    autocast) call it as usual, and nothing of it is saved.
    """
    assert can_pack(model), type(model)
    model.set_attn_implementation(ATTENTION)
    last = _layers(model)[-1]
    packed = _last_distilbert_layer if _is_distilbert(model) else _last_layer
    last.forward = _packed_or_not(last.forward, functools.partial(packed, last))
    model.forward = _packed_or_not(model.forward, functools.partial(_classify, model))


def _is_distilbert(model: Any) -> bool:
    return model.config.model_type == "distilbert"


def _layers(model: Any) -> Any:
    body = model.base_model
    return (body.transformer if _is_distilbert(model) else body.encoder).layer


def _packed_or_not(ordinary: Callable, packed: Callable) -> Callable:
    @functools.wraps(ordinary)
    def forward(*args: Any, cu_seqlens: torch.Tensor | None = None, **kwargs: Any) -> Any:
        return ordinary(*args, **kwargs) if cu_seqlens is None else packed(*args, cu_seqlens=cu_seqlens, **kwargs)

    return forward


def _classify(
    model: Any,
    *,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    cu_seqlens: torch.Tensor,
    row_of_label: torch.Tensor,
    token_type_ids: torch.Tensor | None = None,
    layout: SequenceRuns | None = None,
    seq_idx: torch.Tensor | None = None,
) -> SequenceClassifierOutput:
    """The model's forward for one packed row; the arguments are those of `PackingCollator`'s batch.

    Returns:
        `logits`, [examples, num_labels], in the order of the batch's labels; [windows, num_labels] if long texts are
        read in windows.
    """
    body = model.base_model
    token_types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}  # DistilBERT takes none
    positions = position_ids + first_position(model.config)
    hidden = body.embeddings(input_ids=input_ids, position_ids=positions, **token_types)
    if hasattr(body, "embeddings_project"):  # ELECTRA, whose embeddings are narrower than its layers
        hidden = body.embeddings_project(hidden)
    # Created once: nested tensors must get the same object when activation checkpointing computes a layer again.
    first_token_cu_seqlens = torch.arange(len(cu_seqlens), dtype=cu_seqlens.dtype, device=cu_seqlens.device)
    for layer in _layers(model):
        hidden = layer(
            hidden,
            layout=layout,
            cu_seqlens=cu_seqlens,
            first_token_cu_seqlens=first_token_cu_seqlens,
            seq_idx=seq_idx,
        )
    first = hidden.transpose(0, 1)[row_of_label]  # [examples, 1, hidden]: heads take the first token of each row
    if _is_distilbert(model):
        first = model.dropout(F.relu(model.pre_classifier(first[:, 0])))
    elif hasattr(body, "pooler") and body.pooler is not None:  # BERT; the other heads begin with the first token
        first = model.dropout(body.pooler(first))
    return SequenceClassifierOutput(logits=model.classifier(first))


def _last_layer(layer: Any, hidden: torch.Tensor, **packed: Any) -> torch.Tensor:
    """The last layer for first tokens only, since the head reads no others; keys and values are those of all tokens.

    [1, tokens, hidden] -> [1, sequences, hidden].
    """
    attention = layer.attention.self
    projections = (attention.query, attention.key, attention.value)
    first, context = _attend_from_first(attention, projections, attention.num_attention_heads, hidden, **packed)
    return layer.feed_forward_chunk(layer.attention.output(context, first))


def _last_distilbert_layer(layer: Any, hidden: torch.Tensor, **packed: Any) -> torch.Tensor:
    """As `_last_layer`, in DistilBERT's names."""
    attention = layer.attention
    projections = (attention.q_lin, attention.k_lin, attention.v_lin)
    first, context = _attend_from_first(attention, projections, attention.n_heads, hidden, **packed)
    attended = layer.sa_layer_norm(attention.out_lin(context) + first)
    return layer.output_layer_norm(layer.ffn(attended) + attended)


def _attend_from_first(
    attention: Any,
    projections: tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module],
    num_heads: int,
    hidden: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    **packed: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first token of each sequence, and what it attends to: both [1, sequences, hidden]."""
    first = hidden[:, cu_seqlens[:-1]]
    query, key, value = (
        projection(tokens).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for projection, tokens in zip(projections, (first, hidden, hidden), strict=True)
    )
    context, _ = packed_attention(
        attention,
        query,
        key,
        value,
        None,
        dropout=attention.dropout.p if attention.training else 0.0,
        scaling=attention.scaling,
        cu_seqlens=cu_seqlens,
        **packed,
    )
    return first, context.flatten(2)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seqlens: torch.Tensor | None = None,
    first_token_cu_seqlens: torch.Tensor | None = None,
    layout: SequenceRuns | None = None,
    seq_idx: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention within each sequence of a packed row; transformers' own (`sdpa`) for an ordinary batch.

    Args:
        module: the layer's self-attention.
        query: [1, heads, tokens, head_dim]; or [1, heads, sequences, head_dim]: first tokens only.
        key, value: [1, heads, tokens, head_dim].
        attention_mask: of an ordinary batch.
        dropout: the probability that an attention weight is dropped.
        scaling: the factor of the scores.
        cu_seqlens: as in a packed batch; None for an ordinary one.
        first_token_cu_seqlens: cu_seqlens of a row of first tokens only: 0, 1, 2 ...
        layout, seq_idx: whichever of them the packed batch has.

    Returns:
        [1, tokens or sequences, heads, head_dim]; and None for the attention weights, which are not kept.
    """
    if cu_seqlens is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    assert first_token_cu_seqlens is not None
    first_only = query.shape[2] != key.shape[2]
    if layout is None:
        assert seq_idx is not None
        query_seq_idx = first_token_cu_seqlens[:-1] if first_only else seq_idx
        return _by_mask(query, key, value, query_seq_idx, seq_idx, dropout, scaling), None
    has_kernel = _has_variable_length_kernel(query)
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # [1, tokens, heads, head_dim]
    if has_kernel:
        query_cu_seqlens = first_token_cu_seqlens if first_only else cu_seqlens
        return _by_nested(query, key, value, layout, query_cu_seqlens, cu_seqlens, dropout, scaling), None
    return _by_runs(query, key, value, layout, first_only, dropout, scaling), None


def _has_variable_length_kernel(query: torch.Tensor) -> bool:
    """Whether nested tensors find a fused kernel on this device.

    Without one they are computed sequence by sequence, and the host waits for the device at each: in bf16 on cards
    older than Ampere, and for a head_dim that 8 does not divide (torch 2.13, `sdp_utils.cpp` and
    `torch/nested/_internal/sdpa.py`).
    """
    if query.device.type != "cuda" or query.shape[-1] % 8:
        return False
    return query.dtype != torch.bfloat16 or torch.cuda.get_device_capability(query.device) >= (8, 0)


def _by_runs(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: SequenceRuns,
    first_only: bool,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """A run of sequences of equal length is a dense batch: a view of the row, with no copy, mask or padding.

    All tensors are [1, tokens, heads, head_dim].
    """

    def runs(tensor: torch.Tensor, one_token_each: bool) -> list[torch.Tensor]:
        """[sequences, heads, length, head_dim] of each run."""
        sizes = [count if one_token_each else length * count for length, count in layout.runs]
        pieces = zip(tensor.squeeze(0).split(sizes), layout.runs, strict=True)
        return [piece.unflatten(0, (count, -1)).transpose(1, 2) for piece, (_, count) in pieces]

    queries, keys, values = runs(query, first_only), runs(key, False), runs(value, False)
    contexts = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling).transpose(1, 2).flatten(0, 1)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(contexts).unsqueeze(0)


def _by_nested(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: SequenceRuns,
    query_cu_seqlens: torch.Tensor,
    cu_seqlens: torch.Tensor,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """One variable-length kernel for the whole row, by torch's attention of nested tensors.

    It picks flash attention for 16 bits and the memory-efficient kernel for 32, both with dropout, which
    `torch.nn.attention.varlen` lacks (2.13). All tensors are [1, tokens, heads, head_dim].
    """

    def nest(tensor: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        # With the lengths given, the host need not wait for the device to compute them.
        shortest, longest = (layout.min_length, layout.max_length) if offsets is cu_seqlens else (1, 1)
        nested = torch.nested.nested_tensor_from_jagged(
            tensor.squeeze(0), offsets, min_seqlen=shortest, max_seqlen=longest
        )
        return nested.transpose(1, 2)

    nested = (nest(query, query_cu_seqlens), nest(key, cu_seqlens), nest(value, cu_seqlens))
    context = F.scaled_dot_product_attention(*nested, dropout_p=dropout, scale=scaling)
    return context.transpose(1, 2).values().unsqueeze(0)


def _by_mask(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_seq_idx: torch.Tensor,
    seq_idx: torch.Tensor,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Every token against every token of the row, with a mask: more work, but the same program for every batch."""
    same = (query_seq_idx.flatten()[:, None] == seq_idx)[None, None]
    return F.scaled_dot_product_attention(query, key, value, same, dropout_p=dropout, scale=scaling).transpose(1, 2)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
