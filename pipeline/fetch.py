"""A model's name -> its files on this machine: a folder, the Hub, or the Hub's cache.

Imports neither torch nor transformers, so that a name that leads nowhere is said at once.
"""

import json
import logging
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,  # the HTTP library's base error: whatever can go wrong on the way to the Hub
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pipeline.errors import UserError

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5  # how long the Hub may take to say what a repository holds
SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "*.model"]
SAFE_WEIGHTS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
OLD_WEIGHTS = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine.

    Attributes:
        name: what the user called it.
        folder: where its files are.
        commit: the Hub's commit that they are of; None for a folder of the user's own.
        weights: whether they are to be loaded, or random ones drawn.
    """

    name: str
    folder: Path
    commit: str | None
    weights: bool


def fetch_model(name: str, revision: str = "main", *, weights: bool = True) -> ModelFiles:
    """Find a model in a folder, on the Hub, or, where the Hub cannot be reached, in the Hub's cache.

    The Hub is asked once, with a timeout, before anything is loaded: left to itself `from_pretrained` takes 46 seconds
    to notice that there is no network (transformers 5.23), and asks anew for every file.

    Args:
        name: a folder, or a repository on the Hub.
        revision: branch, tag or commit on the Hub.
        weights: whether weights are needed, or config and tokenizer are enough.

    Raises:
        UserError: it is in none of these places, or something that is needed is missing from it.
    """
    if ".." in Path(revision).parts or Path(revision).is_absolute():  # the Hub's cache makes a path of it
        raise UserError(f"--model_revision {revision} is a path; expected a branch, tag or commit.")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(ModelFiles(name, folder.resolve(), None, weights))
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(f"--model_name_or_path {name}: there is no such folder.")
    try:
        about = HfApi().model_info(name, revision=revision, timeout=ANSWER_SECONDS)
    except HFValidationError as error:
        raise UserError(
            f"--model_name_or_path {name}: neither a folder here nor a name on the Hub. {error}"
        ) from error
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated: ask for access on {constants.ENDPOINT}/{name}, then set HF_TOKEN or run "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"--model_name_or_path {name}: neither a folder here nor a model on {constants.ENDPOINT}. Check the name; "
            "for a private model set HF_TOKEN or run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"--model_revision {revision}: {name} has no such branch, tag or commit.") from error
    except (HTTPError, OSError) as error:
        return _from_cache(name, revision, weights, error)
    return _download(name, revision, [file.rfilename for file in about.siblings or []], weights)


def evaluation_settings(files: ModelFiles) -> dict[str, Any]:
    """The options that a model was scored with at the end of its training, as far as its folder tells.

    A model in a folder of the user's own gets its evaluation in there as well.
    """
    settings = {} if files.commit else {"output_dir": str(files.folder)}
    for file, read in (
        ("results.json", lambda about: about["evaluated_with"]),
        (
            "run.json",
            lambda about: {name: about["arguments"]["data"][name] for name in ("corpus_root_dir", "cache_dir")},
        ),
    ):
        try:
            settings |= read(json.loads((files.folder / file).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError):
            logger.info("%s has no %s: the options' own defaults stand.", files.folder, file)
    return settings


def _download(name: str, revision: str, files: list[str], weights: bool) -> ModelFiles:
    patterns = SMALL_FILES
    if weights:
        safe = any(fnmatch(file, pattern) for file in files for pattern in SAFE_WEIGHTS)
        patterns = SMALL_FILES + (SAFE_WEIGHTS if safe else OLD_WEIGHTS)
    try:
        # By the revision's name and not by its commit, or the cache would not know the name when the Hub is away.
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except ValueError as error:  # a file name that leads out of the folder, say
        raise UserError(f"{name} cannot be used: {error}") from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"the download of {name} broke: {error}\n  Run the same command again: what has arrived is kept."
        ) from error
    return _checked(ModelFiles(name, folder, folder.name, weights))


def _from_cache(name: str, revision: str, weights: bool, reason: Exception) -> ModelFiles:
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=SMALL_FILES))
        files = _checked(ModelFiles(name, folder, folder.name, weights))
    except (LocalEntryNotFoundError, UserError) as error:
        raise UserError(
            f"the model {name} is not in the Hub's cache ({constants.HF_HUB_CACHE}) and could not be downloaded.\n"
            f"  tried: {constants.ENDPOINT}/{name}\n"
            f"  found: {reason}\n"
            f"  Without a network here: download the files of {constants.ENDPOINT}/{name}/tree/{revision} elsewhere "
            "(config.json, the tokenizer's files, the weights), put them in a folder, and name that instead: "
            "--model FOLDER"
        ) from error
    logger.warning("%s cannot be reached (%s); using %s from the cache.", constants.ENDPOINT, reason, name)
    return files


def _checked(files: ModelFiles) -> ModelFiles:
    def any_of(*patterns: str) -> bool:
        return any(path.is_file() for pattern in patterns for path in files.folder.glob(pattern))

    needed = {
        "a config (config.json)": any_of("config.json"),
        "a tokenizer (tokenizer.json or vocab.txt)": any_of("tokenizer.json", "vocab.txt", "*.model"),
        "weights (model.safetensors or pytorch_model.bin)": not files.weights
        or any_of(*SAFE_WEIGHTS, *OLD_WEIGHTS, "*.onnx"),
    }
    missing = [what for what, there in needed.items() if not there]
    if missing:
        hint = "" if len(missing) > 1 or files.weights is False else " For random weights say --from_scratch."
        raise UserError(f"{files.folder} has no {' and no '.join(missing)}; {files.name} needs it.{hint}")
    return files
