"""A finished run -> the Hub: the model with its card, and the text dataset as Parquet with its card."""

import logging
import tempfile
from pathlib import Path

from pipeline.card import dataset_card, model_card, read_run
from pipeline.errors import UserError
from pipeline.hub import MODEL_FILES, Destination, push

logger = logging.getLogger(__name__)


def check_run(model_dir: Path, *, dataset: bool) -> None:
    """Find out before anything is created on the Hub whether what is to be pushed is there.

    Raises:
        UserError: the folder holds no finished run, or `dataset` is wanted and the run's features are gone.
    """
    model_card(model_dir, model_dir.name)
    if not any(any(model_dir.glob(pattern)) for pattern in MODEL_FILES[:2]):
        raise UserError(f"{model_dir} has no model.safetensors; expected a folder that scripts/train.py left.")
    if dataset:
        _features(model_dir)


def publish_model(model_dir: Path, destination: Destination) -> str:
    """Write the card for its name on the Hub and push model, tokenizer, results and card.

    Returns:
        The URL of the commit that the Hub confirmed.

    Raises:
        UserError: the folder holds no finished run, or the Hub refused or could not be reached.
    """
    check_run(model_dir, dataset=False)
    model_card(model_dir, destination.repo_id).save(model_dir / "README.md")
    return push(model_dir, destination, MODEL_FILES, "Fine-tuned with nsmc-pipeline")


def publish_finished_run(model_dir: Path, destination: Destination) -> str:
    """`publish_model` at the end of training, where a failure must not sound as if the run were lost.

    Raises:
        UserError: the push failed; the text says that the run is whole, and the command that finishes the push.
    """
    try:
        return publish_model(model_dir, destination)
    except UserError as error:
        options = f"--model_dir {model_dir} --hub_model_id {destination.repo_id}"
        options += " --private" * destination.private
        options += f" --revision {destination.revision}" * (destination.revision != "main")
        raise UserError(
            f"{error}\n  The run is whole in {model_dir}. To finish the push, now or later:\n"
            f"    python scripts/push_to_hub.py {options}"
        ) from error


def publish_dataset(model_dir: Path, destination: Destination) -> str:
    """Push the text dataset that the run was trained on, one Parquet file a split.

    Returns:
        The URL of the commit that the Hub confirmed.

    Raises:
        UserError: the run's features are gone, or the Hub refused or could not be reached.
    """
    run, folder = read_run(model_dir), _features(model_dir)
    from datasets import load_from_disk  # slow to import, and not needed where only the model is pushed

    corpus = load_from_disk(folder).select_columns(["text", "label"])
    with tempfile.TemporaryDirectory() as temporary:
        beside = Path(temporary)
        (beside / "data").mkdir()
        for split, rows in corpus.items():
            rows.to_parquet(beside / "data" / f"{split}.parquet")
        dataset_card(run["corpus"], corpus.num_rows, destination.repo_id).save(beside / "README.md")
        return push(beside, destination, ["README.md", "data/*.parquet"], "Reviews as text")


def _features(model_dir: Path) -> Path:
    folder = Path(read_run(model_dir)["features"]["folder"])
    if not folder.is_dir():
        raise UserError(
            f"{folder}, which holds the run's corpus, is gone. Make it again with scripts/prepare_data.py and the "
            "run's options (they stand in run.json)."
        )
    return folder
