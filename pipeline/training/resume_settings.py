"""Which settings decide a run's result, and whether a checkpoint was written with the same."""

import json
import logging
from typing import Any

from pipeline.runtime.errors import UserError
from pipeline.training.checkpoints import read_manifest

logger = logging.getLogger(__name__)

# The options that decide what a run computes. Others (paths, how often to log or save) may change freely.
RESULT_OPTIONS = {
    "data": (
        "corpus_name validation_fraction test_fraction validation_seed max_length long_text clean class_weights "
        "drop_duplicates batching"
    ).split(),
    "model": "model_name_or_path model_revision from_scratch config_overrides".split(),
    "training": (
        "global_batch_size num_train_epochs max_steps learning_rate gamma optim optim_args lr_scheduler_type "
        "lr_scheduler_kwargs warmup_steps weight_decay max_grad_norm adam_beta1 adam_beta2 adam_epsilon "
        "label_smoothing_factor seed data_seed train_sampling_strategy eval_strategy eval_steps metric_for_best_model "
        "load_best_model_at_end"
    ).split(),
}

# What changes a result only by rounding or by the random state: a warning, not an error.
ROUNDING = {"processes": "process(es)", "device": "device", "precision": "precision"}


def result_settings(
    arguments: dict[str, dict[str, Any]], origin: dict[str, Any], features: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Everything that decides what a run computes, by the names the user knows.

    Args:
        arguments: from `public_arguments`.
        origin: from `Prepared.describe`: the corpus' digests and the model's commit.
        features: name of the features folder, which depends on corpus, tokenizer and length.
        config: the model's config as a dict.
    """
    settings = {name: arguments[group].get(name) for group, names in RESULT_OPTIONS.items() for name in names}
    settings |= {f"{split} corpus (SHA-256)": digest for split, digest in origin["corpus"]["sha256"].items()}
    settings |= {"model commit": origin["model"]["commit"], "features (corpus, tokenizer, length)": features}
    ours = {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}
    settings |= {f"config.{name}": value for name, value in ours.items()}
    return json.loads(json.dumps(settings, default=str))


def check_resume_settings(checkpoint: str, origin: dict[str, Any], *, allow_changed: bool) -> None:
    """Compare a checkpoint's settings with this run's, and warn of what makes the resume inexact.

    Args:
        checkpoint: a complete one.
        origin: of this run, as given to `write_manifest`.
        allow_changed: resume with other settings, with a warning.

    Raises:
        UserError: the settings differ and `allow_changed` is False; every difference is named.
    """
    then = read_manifest(checkpoint)
    before, now = then["settings"], origin["settings"]
    lines = [
        f"  {name}: {_abbreviate(before.get(name))} in the checkpoint, now {_abbreviate(now.get(name))}"
        for name in [*now, *(before.keys() - now.keys())]
        if before.get(name) != now.get(name)
    ]
    if lines and not allow_changed:
        raise UserError(
            f"{checkpoint} was written with other settings:\n" + "\n".join(lines) + "\n"
            "  To resume as it began:          give these options the checkpoint's values\n"
            "  To resume with the new ones:    --allow_changed_settings\n"
            "  To start from the beginning:    --output_dir ANOTHER_FOLDER"
        )
    if lines:
        logger.warning("Resuming from %s with other settings:\n%s", checkpoint, "\n".join(lines))
    for name, noun in ROUNDING.items():
        if then.get(name) != origin.get(name):
            logger.warning(
                "%s was written with %s %s, now %s: order of examples, weights, optimizer and schedule continue, but "
                "not bit for bit (dropout draws other numbers, or sums are rounded differently).",
                *(checkpoint, noun, then.get(name), origin.get(name)),
            )


def _abbreviate(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else text[:70] + "…"
