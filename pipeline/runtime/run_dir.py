"""Names of the files that a run reads and leaves, and its folder: prepared before a run, written by renames."""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.runtime.errors import UserError

RESULTS = "results.json"  # scores; written last, and so the mark of a finished run
RUN = "run.json"  # arguments, origin of data and model, versions, machine
CARD = "README.md"  # the model card
CURVES = "runs"  # TensorBoard's event files
LOG = "train.log"  # everything that was logged, also what is too long for a terminal
TRAINER_STATE = "trainer_state.json"  # the log, by transformers
EVALUATION = "evaluation.json"  # scores of scripts/evaluate_model.py
PREDICTIONS = "predictions.jsonl"  # one line an example of validation and test
REPORT = "report.html"  # the page of a run
STOP_FILE = "stop"  # created by the user, it stops a run on a TPU
MANIFEST = "manifest.json"  # in a checkpoint: size and digest of its files, written last
DISCARDED = "discarded-"  # before the name of a checkpoint that no longer counts
EXPORT = "export.json"  # in an ONNX folder: how it compares with the original
CACHE_NAME = "nsmc-pipeline"  # of our folder in the cache of Hugging Face datasets


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable UTF-8 JSON by a rename: a reader finds the old file or the new one, never part of one."""
    tmp_path = path.with_name(path.name + ".tmp")
    tmp_path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tmp_path.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that a finished run left.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path.parent} holds no finished run: {path.name} is missing. Expected a folder written by "
            "scripts/train.py; to finish an interrupted run, start it again with --resume_from_checkpoint auto."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def prepare_output_dir(output_dir: str | Path, *, resuming: bool, overwrite: bool, auto: bool = False) -> None:
    """Keep a new run from mixing with an earlier one in it.

    Args:
        output_dir: the run's folder.
        resuming: from a checkpoint that was found.
        overwrite: remove the checkpoints and the results of an earlier run.
        auto: resuming was requested, but no checkpoint in the folder is valid; they are left there.

    Raises:
        UserError: the folder is a file, or holds an earlier run that is neither resumed nor overwritten.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; expected a folder.")
    earlier = [] if auto else list_checkpoints(folder)
    if not resuming and (earlier or (folder / RESULTS).exists()):
        if not overwrite:
            state = "a finished run" if (folder / RESULTS).exists() else f"an unfinished run ({earlier[0].name})"
            raise UserError(
                f"{folder} holds {state}.\n"
                "  To resume it:      --resume_from_checkpoint auto\n"
                "  To keep it:        --output_dir ANOTHER_FOLDER\n"
                "  To replace it:     --overwrite_output_dir"
            )
        for checkpoint in (*earlier, *folder.glob(f"{DISCARDED}checkpoint-*")):
            shutil.rmtree(checkpoint, ignore_errors=True)
        (folder / RESULTS).unlink(missing_ok=True)


def create_output_dir(output_dir: Path) -> None:
    """Create the run's folder, and find out before training whether it can be written.

    Raises:
        UserError: it cannot be created or written.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output_dir).close()
    except OSError as error:
        raise UserError(
            f"--output_dir {output_dir} cannot be written: {error.strerror}. Name a folder that can be written."
        ) from error


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in found if path.is_dir()), key=checkpoint_step, reverse=True)


def checkpoint_step(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])
