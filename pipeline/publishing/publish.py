"""Push a finished run: the model with its card, and the text dataset as Parquet with its card."""

import logging
import shlex
import tempfile
from pathlib import Path

from pipeline.publishing.hub import MODEL_FILES, Destination, push
from pipeline.publishing.model_card import dataset_card, describe_corpus, model_card, save_card
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import CARD, RUN, read_json

logger = logging.getLogger(__name__)


def check_run(model_dir: Path, *, dataset: bool) -> None:
    """Check before anything is created on the Hub that everything to be pushed exists.

    Raises:
        UserError: the folder does not exist or holds no finished run, or `dataset` is true and the run's features are
            gone.
    """
    if not model_dir.is_dir():
        raise UserError(f"--model_dir {model_dir}: there is no such folder.")
    model_card(model_dir)
    if not any(any(model_dir.glob(pattern)) for pattern in MODEL_FILES[:2]):
        raise UserError(f"{model_dir} has no model.safetensors; expected a folder that scripts/train.py wrote.")
    if dataset:
        _features(model_dir)


def publish_model(model_dir: Path, destination: Destination) -> str:
    """Write the card for the model's name on the Hub and push model, tokenizer, results and card.

    A README.md of the user's own is pushed as it is.

    Returns:
        The URL of the commit that the Hub confirmed.

    Raises:
        UserError: the folder holds no finished run, or the Hub refuses or cannot be reached.
    """
    check_run(model_dir, dataset=False)
    save_card(model_dir, model_card(model_dir, destination.repo_id))
    return push(model_dir, destination, MODEL_FILES, "Fine-tuned model")


def publish_finished_run(model_dir: Path, destination: Destination) -> str:
    """`publish_model` at the end of training, where a failure must not look as if the run were lost.

    Raises:
        UserError: the push failed. The message says that the run is complete and has the command that pushes it.
    """
    try:
        return publish_model(model_dir, destination)
    except UserError as error:
        command = ["python", "scripts/push_to_hub.py", "--model_dir", str(model_dir)]
        command += ["--hub_model_id", destination.repo_id]
        command += ["--private"] if destination.private else []
        command += ["--revision", destination.revision] if destination.revision != "main" else []
        raise UserError(
            f"{error}\n  The run is complete in {model_dir}. To push it, now or later:\n    {shlex.join(command)}"
        ) from error


def publish_dataset(model_dir: Path, destination: Destination) -> str:
    """Push the text dataset that the run was trained on, one Parquet file a split.

    Returns:
        The URL of the commit that the Hub confirmed.

    Raises:
        UserError: the run's features are gone, or the Hub refuses or cannot be reached.
    """
    from datasets import load_from_disk  # slow to import, and not needed if only the model is pushed

    corpus = read_json(model_dir / RUN)["corpus"]
    about, task = describe_corpus(corpus)
    if not (about.license_id or destination.private):
        logger.warning(
            "The licence of %s is not known. Make sure that you may publish it: anyone can read %s, which --private "
            "would keep to yourself.",
            *(about.title.en, destination.repo_id),
        )
    examples = load_from_disk(_features(model_dir)).select_columns([*task.text_columns, "label"])
    with tempfile.TemporaryDirectory() as temporary:
        tmp_dir = Path(temporary)
        (tmp_dir / "data").mkdir()
        for split, rows in examples.items():
            rows.to_parquet(tmp_dir / "data" / f"{split}.parquet")
        dataset_card(corpus, examples.num_rows, destination.repo_id).save(tmp_dir / CARD)
        return push(tmp_dir, destination, [CARD, "data/*.parquet"], "Examples as text")


def _features(model_dir: Path) -> Path:
    """The folder of the run's tokenized corpus, which has the texts as well."""
    folder = Path(read_json(model_dir / RUN)["features"]["folder"])
    if not folder.is_dir():
        raise UserError(
            f"{folder}, which holds the run's corpus, is gone. Build it again with scripts/prepare_data.py and the "
            "run's options, which are in run.json."
        )
    return folder
