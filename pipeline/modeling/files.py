"""A model's name -> its files on this machine, from a folder, the Hub, or the Hub's cache.

Imports neither torch nor transformers: a script reports a missing model before these slow imports.
"""

import logging
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,  # the HTTP library's base error
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pipeline.runtime.errors import UserError

logger = logging.getLogger(__name__)

HUB_TIMEOUT_SECONDS = 5  # for the list of a repository's files
CONFIG_AND_TOKENIZER = ["*.json", "vocab.txt", "merges.txt", "*.model"]
SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
PICKLED_WEIGHTS = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine.

    Attributes:
        name: as the user gave it.
        folder: where the files are.
        commit: their commit on the Hub; None for a local folder.
        weights: whether weights are loaded, rather than drawn at random.
    """

    name: str
    folder: Path
    commit: str | None
    weights: bool


def fetch_model(name: str, revision: str = "main", *, weights: bool = True, onnx: bool = True) -> ModelFiles:
    """Find a model in a folder, on the Hub, or, if the Hub cannot be reached, in the Hub's cache.

    The Hub is queried once, with a timeout, before anything is loaded: by itself `from_pretrained` takes 46 seconds to
    notice that there is no network (transformers 5.23), and queries the Hub for every file.

    Args:
        name: a folder, or a repository on the Hub.
        revision: branch, tag or commit on the Hub.
        weights: whether weights are needed, besides config and tokenizer.
        onnx: whether an ONNX export is as good as PyTorch's weights; only prediction can use one.

    Raises:
        UserError: the model is nowhere, or incomplete.
    """
    files = _find(name, revision, weights)
    if weights and not onnx:
        require_pytorch(files)
    return files


def require_pytorch(files: ModelFiles) -> None:
    """Refuse an ONNX export where PyTorch's weights are needed.

    Raises:
        UserError: the folder has no other weights.
    """
    if not _has_any(files.folder, *SAFETENSORS, *PICKLED_WEIGHTS) and _has_any(files.folder, "*.onnx"):
        raise UserError(
            f"{files.folder} is an ONNX export, which scripts/predict.py and scripts/demo.py read. Name the folder of "
            "the PyTorch model that it was made from."
        )


def _find(name: str, revision: str, weights: bool) -> ModelFiles:
    if ".." in Path(revision).parts or Path(revision).is_absolute():  # the Hub's cache uses it as a path
        raise UserError(f"--model_revision {revision} is a path; expected a branch, tag or commit.")
    if not name.strip():
        raise UserError("--model is empty; expected a folder, or a name on the Hub.")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(ModelFiles(name, folder.resolve(), None, weights))
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(f"--model_name_or_path {name}: there is no such folder.")
    try:
        about = HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
    except HFValidationError as error:
        raise UserError(f"--model_name_or_path {name}: neither a folder here nor a name on the Hub. {error}") from error
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated: ask for access on {constants.ENDPOINT}/{name}, then set HF_TOKEN or run `hf auth login`."
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


def _download(name: str, revision: str, files: list[str], weights: bool) -> ModelFiles:
    patterns = CONFIG_AND_TOKENIZER
    if weights:
        safe = any(fnmatch(file, pattern) for file in files for pattern in SAFETENSORS)
        patterns = CONFIG_AND_TOKENIZER + (SAFETENSORS if safe else PICKLED_WEIGHTS)
    try:
        # By the revision's name, not its commit, or the cache would not know the name when the Hub is unreachable.
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except ValueError as error:  # a file name that leads out of the folder, say
        raise UserError(f"{name} cannot be used: {error}") from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"the download of {name} broke: {error}\n  Run the same command again: finished files are kept."
        ) from error
    return _checked(ModelFiles(name, folder, folder.name, weights))


def _from_cache(name: str, revision: str, weights: bool, reason: Exception) -> ModelFiles:
    try:
        folder = Path(
            snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=CONFIG_AND_TOKENIZER)
        )
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


def _has_any(folder: Path, *patterns: str) -> bool:
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))


def _checked(files: ModelFiles) -> ModelFiles:
    any_of = partial(_has_any, files.folder)
    weights = "weights (model.safetensors or pytorch_model.bin)"
    needed = {
        "a config (config.json)": any_of("config.json"),
        "a tokenizer (tokenizer.json or vocab.txt)": any_of("tokenizer.json", "vocab.txt", "*.model"),
        weights: not files.weights or any_of(*SAFETENSORS, *PICKLED_WEIGHTS, "*.onnx"),
    }
    missing = [what for what, there in needed.items() if not there]
    if missing:
        hint = " For random weights say --from_scratch." if missing == [weights] else ""
        raise UserError(f"{files.folder} lacks {' and '.join(missing)}.{hint}")
    return files
