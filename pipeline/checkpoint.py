"""Which checkpoint to go on from, and what an earlier run left in the output folder."""

import logging
import re
import shutil
from pathlib import Path

from pipeline.errors import UserError

logger = logging.getLogger(__name__)

# What a bit-exact resume needs. With any but the last missing Trainer goes on in silence, with other weights; the last
# is the one that Trainer writes last (transformers 5.23).
NEEDED = [
    ("model.safetensors", "model.safetensors.index.json", "pytorch_model_fsdp_0"),
    ("optimizer.pt", "optimizer.bin", "optimizer_0"),
]
NEEDED += [("scheduler.pt",), ("rng_state.pth", "rng_state_0.pth"), ("trainer_state.json",)]
RESULTS = "results.json"


def checkpoint_to_resume(output_dir: str | Path, wish: str | None) -> str | None:
    """Find the checkpoint that `--resume_from_checkpoint` means.

    Args:
        output_dir: the run's folder.
        wish: None: start anew; `auto`: the newest whole checkpoint in `output_dir`, or start anew if there is none; a
            folder: that one.

    Raises:
        UserError: the folder named is not a whole checkpoint.
    """
    if wish is None or wish.lower() in ("false", "no"):
        return None
    if wish.lower() not in ("auto", "true"):
        if missing := _missing(Path(wish)):
            raise UserError(
                f"--resume_from_checkpoint {wish}: not a whole checkpoint, {', '.join(missing)} is missing."
            )
        return wish
    for folder in _checkpoints(output_dir):
        missing = _missing(folder)
        if not missing:
            logger.info("Resuming from %s.", folder)
            return str(folder)
        logger.warning(
            "Passing over %s: %s is missing; it was being written when the run ended.", folder, ", ".join(missing)
        )
    logger.info("No checkpoint in %s yet; starting anew.", output_dir)
    return None


def make_room(output_dir: str | Path, *, resuming: bool, overwrite: bool) -> None:
    """Keep a new run from mixing with an earlier one in the same folder.

    Raises:
        UserError: the folder holds an earlier run, and nobody said whether to go on with it or to replace it.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; expected a folder.")
    earlier = _checkpoints(folder)
    if resuming or not (earlier or (folder / RESULTS).exists()):
        return
    if not overwrite:
        state = "a finished run" if (folder / RESULTS).exists() else f"an unfinished run ({earlier[0].name})"
        raise UserError(
            f"{folder} holds {state}.\n"
            "  To go on with it:    --resume_from_checkpoint auto\n"
            "  To keep it:          --output_dir ANOTHER_FOLDER\n"
            "  To replace it:       --overwrite_output_dir"
        )
    for checkpoint in earlier:
        shutil.rmtree(checkpoint, ignore_errors=True)
    (folder / RESULTS).unlink(missing_ok=True)


def _checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in found if path.is_dir()), key=lambda path: -int(path.name.split("-")[1]))


def _missing(folder: Path) -> list[str]:
    return [names[0] for names in NEEDED if not any((folder / name).exists() for name in names)]
