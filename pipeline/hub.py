"""Check, save, push. The only caller of the Hub's upload functions.

Trainer's own push is not used: it writes its card over ours, leaves a failed push during training unsaid, and would
upload pickles (transformers 5.23).
"""

import logging
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from pipeline.errors import UserError

logger = logging.getLogger(__name__)

# What belongs to a model on the Hub, and nothing else: no optimizer, no pickle, no path of this machine.
MODEL_FILES = [
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"),
    *("results.json", "README.md"),
]
LARGEST_FILE = 50 * 10**9  # bytes; the Hub refuses larger ones (huggingface.co/docs/hub/storage-limits)
ATTEMPTS = 4  # at what the Hub answers with "try again"; the first after a second, then two, then four
PASSING = {408, 409, 412, 429, 500, 502, 503, 504}  # 409 and 412: someone else's commit came in between

Result = TypeVar("Result")


@dataclass(frozen=True)
class Destination:
    """A repository on the Hub that was checked to be writable.

    Attributes:
        repo_id: `USER/NAME`.
        repo_type: model or dataset.
        private: whether it is created private; one that exists stays as it is.
        revision: the branch that is written.
    """

    repo_id: str
    repo_type: str
    private: bool
    revision: str


def check_destination(
    repo_id: str, *, repo_type: str = "model", private: bool = False, revision: str = "main"
) -> Destination:
    """Find out now, before hours of work, whether a push will be let in: token, name, write access.

    The repository is created if it is not there. If it is, the Hub is asked for write access, since a fine-grained
    token says nothing of it itself, and creating what is there already is no error (huggingface_hub 2.4, `exist_ok`).

    Args:
        repo_id: `USER/NAME`, or `NAME` for the token's own user.
        repo_type: model or dataset.
        private: create it private.
        revision: a branch, created if it is not there.

    Raises:
        UserError: there is no token, it is not valid or may not write there, the name cannot be, or the Hub cannot be
            reached.
    """
    if get_token() is None:
        raise UserError(
            "pushing to the Hub needs a token, and there is none. Make one with write access on "
            f"{constants.ENDPOINT}/settings/tokens, then set the environment variable HF_TOKEN or run `hf auth login`."
        )
    api = HfApi()
    with _hub_errors(f"checking write access to {repo_id}"):
        account = _patiently(api.whoami)
    if "/" not in repo_id:
        repo_id = f"{account['name']}/{repo_id}"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(
            f"--hub_model_id {repo_id} cannot be a name on the Hub; expected USER/NAME. {error}"
        ) from error
    owner = repo_id.split("/")[0]
    owners = [account["name"], *(organization["name"] for organization in account.get("orgs", []))]
    if owner not in owners:
        raise UserError(
            f"the token is {account['name']}'s and cannot write to {owner}. It can to: {', '.join(owners)}."
        )
    role = account.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise UserError(
            f"the token may only read. Make one with write access on {constants.ENDPOINT}/settings/tokens and set "
            "HF_TOKEN."
        )
    with _hub_errors(f"creating {repo_id}"):
        _patiently(lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True))
        _patiently(lambda: api.auth_check(repo_id, repo_type=repo_type, write=True))
        if revision != "main":
            _patiently(lambda: api.create_branch(repo_id, repo_type=repo_type, branch=revision, exist_ok=True))
    return Destination(repo_id, repo_type, private, revision)


def destination_of(args: Any) -> Destination | None:
    """The checked destination of `--push_to_hub`, on the process that saves; None where nothing is to be pushed.

    Takes the push out of Trainer's hands.

    Raises:
        UserError: as `check_destination`; or there is no --hub_model_id.
    """
    wanted, args.push_to_hub = args.push_to_hub, False
    if not wanted or not args.should_save:
        return None
    if not args.hub_model_id:
        raise UserError("--push_to_hub needs a name: --hub_model_id USER/NAME")
    return check_destination(args.hub_model_id, private=args.hub_private_repo, revision=args.hub_revision or "main")


def check_size(model: Any, destination: Destination | None) -> None:
    """Refuse a model that the Hub would refuse, before it is trained.

    Raises:
        UserError: its file would be larger than the Hub takes.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if destination and size > LARGEST_FILE:
        raise UserError(
            f"the model's file would have {size:,} bytes; the Hub takes at most {LARGEST_FILE:,}. Train without "
            "--push_to_hub."
        )


def push(folder: Path, destination: Destination, patterns: list[str], message: str) -> str:
    """Upload files as one commit. What the Hub has already is not sent again, and a broken upload goes on from there.

    Args:
        folder: where the files are.
        destination: from `check_destination`.
        patterns: which files; all others stay here.
        message: the commit's.

    Returns:
        The URL of the commit, as the server gave it when it confirmed.

    Raises:
        UserError: the Hub could not be reached or refused.
    """
    with _hub_errors(f"pushing to {destination.repo_id}"):
        commit = _patiently(
            lambda: HfApi().upload_folder(
                repo_id=destination.repo_id,
                repo_type=destination.repo_type,
                folder_path=folder,
                revision=destination.revision,
                allow_patterns=patterns,
                commit_message=message,
            )
        )
    return commit.commit_url


def _patiently(call: Callable[[], Result]) -> Result:
    """Call again after answers that pass by themselves. The client does so for files, but not for commits (2.4)."""
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except HTTPError as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            last = attempt == ATTEMPTS - 1
            if last or (status is not None and status not in PASSING):
                raise
            logger.warning("The Hub answered %s; trying again.", status or f"nothing ({error})")
            time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _hub_errors(doing: str) -> Any:
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        meanings = {
            401: "the token is not valid. Make one on {0}/settings/tokens and set HF_TOKEN, or run `hf auth login`.",
            403: "the token may not write there. It needs write access: {0}/settings/tokens.",
            404: "there is no such repository, or the token may not see it.",
            409: "someone else wrote to it at the same moment. Run the same command again.",
            412: "someone else wrote to it at the same moment. Run the same command again.",
        }
        meaning = meanings.get(status, "the Hub could not do it. Run the same command again later.")
        said = (error.server_message or str(error)).strip().splitlines()
        answer = f"{status} {said[0] if said else ''}"
        raise UserError(
            f"{doing} failed: {meaning.format(constants.ENDPOINT)}\n  the Hub answered: {answer}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UserError(
            f"{doing} failed: it needs the network, and HF_HUB_OFFLINE is set. Unset it to push."
        ) from error
    except (HTTPError, OSError, RuntimeError) as error:
        raise UserError(
            f"{doing} failed: {constants.ENDPOINT} could not be reached ({error}). What has arrived is kept: run the "
            "same command again."
        ) from error
