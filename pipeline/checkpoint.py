"""Which checkpoint to go on from, whether it is whole and fits this run, and what an earlier run left behind.

A checkpoint is whole when its manifest, which is written last and by a rename, is there, and every file that the
manifest lists has the size and the digest that it had when it was written. Nothing less is believed: with a file
missing Trainer goes on in silence, with other weights (transformers 5.23).
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, disk_trouble

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
RESULTS = "results.json"

# What a bit-exact resume needs, each in one of several forms: a plain file, shards, or what FSDP writes.
NEEDED = {
    "model": ("model.safetensors", "model.safetensors.index.json", "pytorch_model_fsdp*"),
    "optimizer": ("optimizer.pt", "optimizer.bin", "optimizer_[0-9]*", "rank*-optimizer.pt"),
    "schedule": ("scheduler.pt",),
    "trainer state": ("trainer_state.json",),
}

# The options that decide what a run computes. Others (where things are, how often to log or save) may change freely.
DECISIVE = {
    "data": "corpus_name validation_fraction validation_seed max_seq_length batching".split(),
    "model": "model_name_or_path model_revision from_scratch config_overrides".split(),
    "training": (
        "total_batch_size num_train_epochs max_steps learning_rate gamma optim optim_args lr_scheduler_type "
        "lr_scheduler_kwargs warmup_steps weight_decay max_grad_norm adam_beta1 adam_beta2 adam_epsilon "
        "label_smoothing_factor seed data_seed train_sampling_strategy eval_strategy eval_steps metric_for_best_model "
        "load_best_model_at_end"
    ).split(),
}

# Where the numbers come out the same but for rounding or the random state: worth a word, not a stop.
ROUNDING = {"processes": "process(es)", "device": "device", "precision": "precision"}


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
        if problems := damage(Path(wish)):
            raise UserError(
                f"--resume_from_checkpoint {wish}: not a whole checkpoint: {'; '.join(problems)}.\n"
                "  --resume_from_checkpoint auto takes the newest whole one in --output_dir."
            )
        return wish
    for folder in _checkpoints(output_dir):
        problems = damage(folder)
        if not problems:
            logger.info("Resuming from %s.", folder)
            return str(folder)
        logger.warning("Passing over %s: %s.", folder, "; ".join(problems))
    logger.info("No whole checkpoint in %s; starting anew.", output_dir)
    return None


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Declare a checkpoint whole: write down every file's size and digest, last of all and by a rename.

    The files are brought to the disk first, since older checkpoints are removed once this one counts. SHA-256 is no
    slower than the disk: 1.7 GB/s with the instructions that today's processors have for it, 0.8 s for kcbert-base.

    Args:
        folder: the checkpoint.
        about: `settings` (what `decisive_settings` gave), `processes`, and what else is to be known when resuming.

    Raises:
        UserError: a file that resuming needs is not there.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, _digest(path, sync=True)]
    if missing := _missing(files, about["processes"]):
        raise UserError(
            f"{folder} lacks {' and '.join(missing)}, which other processes should have written there. On several "
            "machines --output_dir has to be on a disk that all of them share."
        )
    content = {**about, "files": files}
    beside = folder / f"{MANIFEST}.tmp"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump({**content, "sha256": _content_digest(content)}, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / MANIFEST)


def damage(folder: Path) -> list[str]:
    """What keeps a folder from being a whole checkpoint; nothing if it is one. Every file is read."""
    if not folder.is_dir():
        return ["there is no such folder"]
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return [f"{MANIFEST} is missing, so it was being written when its run ended"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} is damaged"]
    problems = [f"the {what} is missing" for what in _missing(manifest["files"], manifest["processes"])]
    for name, (size, digest) in manifest["files"].items():
        path = folder / name
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                problems.append(f"{name} leads out of the folder")
            elif not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != size:
                problems.append(f"{name} has {path.stat().st_size:,} bytes, not {size:,}")
            elif _digest(path) != digest:
                problems.append(f"{name} is not what was written (its SHA-256 differs)")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
    return problems


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read a checkpoint's manifest.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, TypeError, AttributeError: it is damaged.
    """
    content = json.loads(Path(folder, MANIFEST).read_text(encoding="utf-8"))
    if content.pop("sha256") != _content_digest(content):
        raise ValueError("the manifest's own digest differs")
    return content


def decisive_settings(
    arguments: dict[str, dict[str, Any]], origin: dict[str, Any], features: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Everything that decides what a run computes, by the names that the user knows.

    Args:
        arguments: from `public_arguments`.
        origin: from `Prepared.describe`: the corpus' digests and the model's commit.
        features: name of the features folder, which stands for corpus, tokenizer and length.
        config: the model's config as a dict.
    """
    settings = {name: arguments[group].get(name) for group, names in DECISIVE.items() for name in names}
    settings |= {f"{split} corpus (SHA-256)": digest for split, digest in origin["corpus"]["sha256"].items()}
    settings |= {"model commit": origin["model"]["commit"], "features (corpus, tokenizer, length)": features}
    ours = {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}
    settings |= {f"config.{name}": value for name, value in ours.items()}
    return json.loads(json.dumps(settings, default=str))


def check_settings(checkpoint: str, about: dict[str, Any], *, allow_changed: bool) -> None:
    """Compare a checkpoint's settings with this run's, and say what is not bit for bit the same.

    Args:
        checkpoint: a whole one.
        about: of this run, as given to `seal`.
        allow_changed: go on with other settings, saying so.

    Raises:
        UserError: they differ and `allow_changed` is False; every difference is named.
    """
    then = read_manifest(checkpoint)
    before, now = then["settings"], about["settings"]
    lines = [
        f"  {name}: {_shown(before.get(name))} in the checkpoint, now {_shown(now.get(name))}"
        for name in [*now, *(before.keys() - now.keys())]
        if before.get(name) != now.get(name)
    ]
    if lines and not allow_changed:
        raise UserError(
            f"{checkpoint} was made with other settings:\n" + "\n".join(lines) + "\n"
            "  To go on as it began:      give these options the checkpoint's values\n"
            "  To go on with the new:     --allow_changed_settings\n"
            "  To start anew:             --output_dir ANOTHER_FOLDER"
        )
    if lines:
        logger.warning("Going on from %s with other settings:\n%s", checkpoint, "\n".join(lines))
    for name, noun in ROUNDING.items():
        if then.get(name) != about.get(name):
            logger.warning(
                "%s was written with %s %s, now %s: the order of the reviews, weights, optimizer and schedule go on "
                "where they were, but not bit for bit (dropout draws other numbers, or sums are rounded otherwise).",
                *(checkpoint, noun, then.get(name), about.get(name)),
            )


def rotate(output_dir: Path, keep: int | None, *, newest: int, best: int | None) -> None:
    """Remove checkpoints until `keep` are left: unfinished and damaged ones first, then the oldest.

    The newest, which the caller has just sealed, and the best stay. Trainer's own rotation goes by the folders' times,
    and may keep a torn checkpoint and remove the whole ones.
    """
    if not keep or keep < 0:
        return
    spare = [path for path in _checkpoints(output_dir) if _step(path) not in (newest, best)]
    spare.sort(key=lambda path: ((path / MANIFEST).is_file() and _step(path) < newest, _step(path)))
    surplus = len(_checkpoints(output_dir)) - keep
    for path in spare[: max(0, surplus)]:
        (path / MANIFEST).unlink(missing_ok=True)  # first, so that a kill within leaves nothing that looks whole
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def disk_errors_named(path: Path, advice: str) -> Iterator[None]:
    """Turn what the writers of files raise on a full or broken disk into a `UserError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (reason := disk_trouble(error)):
            raise
        try:
            free = f"{shutil.disk_usage(path if path.exists() else path.parent).free / 2**20:,.1f} MB are free there"
        except OSError:
            free = "the disk does not answer"
        raise UserError(f"{path} could not be written: {reason} ({free}).\n  {advice}") from error


def make_room(output_dir: str | Path, *, resuming: bool, overwrite: bool, auto: bool = False) -> None:
    """Keep a new run from mixing with an earlier one in the same folder.

    Args:
        output_dir: the run's folder.
        resuming: from a checkpoint that was found.
        overwrite: remove what an earlier run left.
        auto: to resume was the wish, but none of the checkpoints in the way is whole; they are left lying.

    Raises:
        UserError: the folder holds an earlier run, and nobody said whether to go on with it or to replace it.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; expected a folder.")
    earlier = [] if auto else _checkpoints(folder)
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
    return sorted((path for path in found if path.is_dir()), key=lambda path: -_step(path))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def _missing(files: Any, processes: int) -> list[str]:
    """Which of the needed kinds of file are not among these."""
    missing = [
        f"{what} ({patterns[0]})"
        for what, patterns in NEEDED.items()
        if not any(fnmatch(name, pattern) for name in files for pattern in patterns)
    ]
    random = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    return missing + [f"random state ({name})" for name in random if name not in files]


def _digest(path: Path, sync: bool = False) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest()


def _content_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else text[:70] + "…"
