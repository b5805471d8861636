"""The collator that `--batching` names, and a model that reads its batches."""

import logging

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.modeling.packed_attention import can_pack, enable_packing
from pipeline.modeling.windows import enable_windows
from pipeline.runtime.errors import UserError

logger = logging.getLogger(__name__)

COMPILED_MULTIPLE = 64  # tokens; packed rows of compiled models are padded to a multiple, so that few shapes occur


def make_collator(
    batching: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    args: transformers.TrainingArguments,
    long_text: str = "head",
) -> PaddingCollator | PackingCollator:
    """Choose the collator, and prepare the model for it.

    Args:
        batching: packed, longest, max_length, or auto: max_length where every new shape is compiled (XLA), otherwise
            packed if the model can be packed, else longest. A mode that is impossible is logged and replaced likewise.
        model: is enabled to read packed batches if it will get them.
        tokenizer: its padding token is used.
        max_length: the width of max_length batches, in tokens.
        args: the device. One process that feeds several GPUs splits batches along their first dimension, which a
            packed one cannot be: `accelerate launch` starts a process for each GPU.
        long_text: as the features were made; for windows the model is enabled to average their logits.

    Raises:
        UserError: windows are to be split over several GPUs of one process.
    """
    on_xla = args.device.type == "xla"
    obstacles = {
        "an XLA device": on_xla,
        f"{args.n_gpu} GPUs in one process": args.n_gpu > 1,
        type(model).__name__: not can_pack(model),
        "--neftune_noise_alpha": args.neftune_noise_alpha is not None,  # whose noise depends on a batch's width
    }
    obstacle = next((name for name, present in obstacles.items() if present), None)
    if batching == "packed" and obstacle:
        replacement = "max_length" if on_xla else "longest"
        logger.warning("--batching packed is not possible with %s; using %s.", obstacle, replacement)
    is_packed = batching in ("auto", "packed") and not obstacle
    if is_packed:
        enable_packing(model)
    if long_text == "windows":
        if args.n_gpu > 1:
            raise UserError(
                f"--long_text windows: one process cannot split windows over {args.n_gpu} GPUs. Start a process for "
                "each GPU: accelerate launch --config_file accelerate_configs/multi_gpu.yaml scripts/train.py ..."
            )
        enable_windows(model)
    if is_packed:
        return PackingCollator(COMPILED_MULTIPLE if args.torch_compile else None)
    if model.config.pad_token_id is None:  # a decoder finds the last token of a row by it
        model.config.pad_token_id = tokenizer.pad_token_id
    to_max_length = batching == "max_length" or (on_xla and batching != "longest")
    return PaddingCollator(tokenizer.pad_token_id, max_length if to_max_length else None, additive_mask=on_xla)
