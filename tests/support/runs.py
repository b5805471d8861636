"""A finished run as scripts/train.py leaves it, made by its functions without training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pipeline.config.parser import parse_arguments, public_arguments
from pipeline.evaluation.results import describe_training, environment
from pipeline.runtime.run_dir import write_json
from support import TASK

UPLOADED = {
    *("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
}
KEPT_BACK = {
    *("optimizer.pt", "training_args.bin", "trainer_state.json"),
    *("checkpoint-30/model.safetensors", "runs/events"),
}
# Counts of (reference, prediction) that give every number of the table another value.
VALIDATION = {(0, 0): 50, (0, 1): 11, (1, 0): 3, (1, 1): 40}
TEST = {(0, 0): 300, (0, 1): 20, (1, 0): 70, (1, 1): 210}


def scores(counts: dict[tuple[int, int], int]) -> dict:
    """The numbers of an evaluation with this confusion matrix."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    logits = np.array([[2.0, 0.5] if prediction == 0 else [-1.0, 1.5] for _, prediction in pairs], dtype=np.float32)
    return TASK.evaluate(logits, np.array([reference for reference, _ in pairs]))


def make_run(
    folder: Path, *options: str, corpus: str = "nsmc_layout", commit: str | None = None, pretrained: bool = False
) -> Path:
    """Make the folder of a run with these options of scripts/train.py; its features are in `features` beside it."""
    words = ["--recipe", "quickstart", "--corpus_name", corpus, "--output_dir", str(folder), *options]
    data, model, training = parse_arguments(words)
    chosen_on = "validation" if data.validation_fraction else "test"
    outcome = SimpleNamespace(metrics={"train_loss": 0.5})
    state = SimpleNamespace(best_model_checkpoint=str(folder / "checkpoint-30"), global_step=30)
    results = describe_training(outcome, state, chosen_on, data, training, "no")
    splits = {"validation": scores(VALIDATION)} if chosen_on == "validation" else {}
    folder.mkdir(exist_ok=True)
    write_json(folder / "results.json", {**results, **splits, "test": scores(TEST)})
    write_json(
        folder / "run.json",
        {
            "corpus": {"name": corpus, "sha256": {"train": "a" * 64, "test": "b" * 64}},
            "features": {"folder": str(folder.parent / "features"), "num_examples": {"train": 104, "test": 600}},
            "model": {"name": model.model_name_or_path, "commit": commit, "pretrained": pretrained},
            "arguments": public_arguments(data, model, training),
            "environment": environment(2, "bf16"),
        },
    )
    for name in UPLOADED | KEPT_BACK:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder
