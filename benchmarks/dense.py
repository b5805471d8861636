"""What the machine can do at best: the reference of `training.py`, which runs it.

One dense batch without padding, forward and backward without an optimizer, and the matrix peak: the rate of a large
matrix product.
"""

import statistics
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common import Settings, create_model, default_device, now

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
PRODUCTS = 8


def time_dense_batch(settings: Settings, length: int) -> dict[str, float]:
    """Time a batch of texts that are all `length` tokens long, and measure the matrix peak.

    Returns:
        `seconds` per batch, its `flops`, and `peak` in FLOP/s.
    """
    device, dtype = default_device(), DTYPES[settings.mixed_precision]
    model = create_model(settings)[0].to(device).train()
    input_ids = torch.randint(5, model.config.vocab_size, (settings.batch_size, length), device=device)
    labels = torch.zeros(settings.batch_size, dtype=torch.long, device=device)
    times = []
    for _ in range(1 + settings.batches):
        started = now()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(model(input_ids=input_ids).logits.float(), labels)
        loss.backward()
        times.append(now() - started)
        model.zero_grad()
    return {
        "seconds": statistics.median(times[1:]),  # the first warms up
        "flops": count_flops(model.config, settings.batch_size * length, length),
        "peak": matrix_peak(device, dtype),
    }


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of some large matrix products, in FLOP/s."""
    size = MATRIX_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(PRODUCTS):
        started = now()
        left @ right
        times.append(now() - started)
    return 2 * size**3 / min(times)


def count_flops(config: Any, tokens: float, length: float) -> float:
    """Multiplications and additions of forward and backward over `tokens` tokens in texts of `length` tokens.

    For each token twice the weights of the layers and the scores and contexts of attention; backward costs twice as
    much as forward. Counted alike for every method, although this project does less: its last layer computes first
    tokens only.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return 3 * layers * tokens * (2 * (4 * hidden**2 + 2 * hidden * inner) + 4 * length * hidden)
