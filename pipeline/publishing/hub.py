"""Check, create, push. The only caller of the Hub's upload functions.

Trainer's own push is not used: it writes its card over ours, does not report a failed push during training, and uploads
pickles (transformers 5.23).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # the HTTP library's base error
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from pipeline.runtime.errors import UserError

if TYPE_CHECKING:  # slow to import
    import torch

    from pipeline.config.arguments import TrainingArguments

logger = logging.getLogger(__name__)

# Only what belongs to a model on the Hub: no optimizer, no pickle, nothing with a path of this machine.
MODEL_FILES = [
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"),
    *("results.json", "README.md"),
]
LARGEST_FILE = 50 * 10**9  # bytes; the Hub refuses larger ones (huggingface.co/docs/hub/storage-limits)
ATTEMPTS = 4  # with pauses of 1, 2 and 4 seconds
RETRYABLE = {408, 409, 412, 429, 500, 502, 503, 504}  # 409 and 412: another commit came first
MEANINGS = {
    401: "the token is not valid. Create one on {endpoint}/settings/tokens and set HF_TOKEN, or run `hf auth login`.",
    403: "the token may not write there. It needs write access: {endpoint}/settings/tokens.",
    404: "there is no such repository, or the token may not see it.",
    409: "someone else wrote to it at the same time. Run the same command again.",
    412: "someone else wrote to it at the same time. Run the same command again.",
}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Destination:
    """A repository on the Hub that the token may write to.

    Attributes:
        repo_id: `OWNER/NAME`.
        repo_type: model or dataset.
        private: create it private; a repository that exists stays as it is.
        revision: the branch to write.
    """

    repo_id: str
    repo_type: str
    private: bool
    revision: str


def check_destination(
    repo_id: str, *, repo_type: str = "model", private: bool = False, revision: str = "main"
) -> Destination:
    """Check token, name and write access, before hours of work. Nothing is created.

    The Hub is asked for write access to a repository that exists: a fine-grained token does not tell it.

    Args:
        repo_id: `OWNER/NAME`, or `NAME` for the token's own user.
        repo_type: model or dataset.
        private: create it private.
        revision: a branch; `create_repository` creates it if it does not exist.

    Raises:
        UserError: there is no token, it is not valid or may not write there, the name is not valid, or the Hub cannot
            be reached.
    """
    if get_token() is None:
        raise UserError(
            "pushing to the Hub needs a token. Create one with write access on "
            f"{constants.ENDPOINT}/settings/tokens, then set the environment variable HF_TOKEN or run `hf auth login`."
        )
    api = HfApi()
    with _hub_errors(f"checking the token for {repo_id}"):
        account = _with_retries(api.whoami)
    if "/" not in repo_id:
        repo_id = f"{account['name']}/{repo_id}"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(
            f"--hub_model_id {repo_id} is not a valid name on the Hub; expected OWNER/NAME. {error}"
        ) from error
    _check_account(account, owner=repo_id.split("/")[0])
    with _hub_errors(f"checking write access to {repo_id}"):
        try:
            _with_retries(lambda: api.auth_check(repo_id, repo_type=repo_type, write=True))
        except RepositoryNotFoundError:
            logger.info("%s does not exist yet on the Hub.", repo_id)
    return Destination(repo_id, repo_type, private, revision)


def requested_destination(args: "TrainingArguments") -> Destination | None:
    """The checked destination of `--push_to_hub`, on the process that saves; None if nothing will be pushed.

    Raises:
        UserError: as `check_destination`; or --hub_model_id is missing.
    """
    if not args.push_to_hub or not args.should_save:
        return None
    if not args.hub_model_id:
        raise UserError("--push_to_hub needs a name: --hub_model_id USER/NAME")
    return check_destination(args.hub_model_id, private=args.hub_private_repo, revision=args.hub_revision or "main")


def create_repository(destination: Destination | None) -> None:
    """Create the repository and its branch, as far as they do not exist. None: nothing will be pushed.

    Raises:
        UserError: the Hub refuses or cannot be reached.
    """
    if destination is None:
        return
    api, repo_id, repo_type = HfApi(), destination.repo_id, destination.repo_type
    branch = destination.revision
    with _hub_errors(f"creating {repo_id}"):
        _with_retries(lambda: api.create_repo(repo_id, repo_type=repo_type, private=destination.private, exist_ok=True))
        if branch != "main":
            _with_retries(lambda: api.create_branch(repo_id, repo_type=repo_type, branch=branch, exist_ok=True))


def check_size(model: "torch.nn.Module", destination: Destination | None) -> None:
    """Refuse a model that the Hub would refuse, before it is trained. None: nothing will be pushed.

    Raises:
        UserError: its file would be larger than the Hub accepts.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if destination and size > LARGEST_FILE:
        raise UserError(
            f"the model's file would have {size:,} bytes; the Hub accepts at most {LARGEST_FILE:,}. Train without "
            "--push_to_hub."
        )


def push(folder: Path, destination: Destination, patterns: list[str], message: str) -> str:
    """Upload files as one commit. Files that the Hub has are not sent again; an interrupted upload continues.

    Args:
        folder: of the files.
        destination: a repository that exists.
        patterns: which files; all others stay here.
        message: of the commit.

    Returns:
        The URL of the commit that the Hub confirmed.

    Raises:
        UserError: the Hub refuses or cannot be reached.
    """
    with _hub_errors(f"pushing to {destination.repo_id}"):
        commit = _with_retries(
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


def _check_account(account: dict[str, Any], owner: str) -> None:
    """Check by the answer to `whoami` that a token may write to the repositories of a user or an organization."""
    owners = [account["name"], *(organization["name"] for organization in account.get("orgs", []))]
    if owner not in owners:
        raise UserError(
            f"the token belongs to {account['name']} and cannot write to {owner}; it can write to {', '.join(owners)}."
        )
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(
            f"the token may only read. Create one with write access on {constants.ENDPOINT}/settings/tokens and set "
            "HF_TOKEN."
        )


def _with_retries(call: Callable[[], Result]) -> Result:
    """Call again after errors that pass. The client does so for files, but not for commits (huggingface_hub 2.4)."""
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except HTTPError as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            is_last = attempt == ATTEMPTS - 1
            if is_last or (status is not None and status not in RETRYABLE):
                raise
            logger.warning("The Hub answered %s; trying again.", status or f"nothing ({error})")
            time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _hub_errors(action: str) -> Iterator[None]:
    """Turn the client's errors into a `UserError` that says what failed, what it means, and what the Hub answered."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        default = "the Hub could not do it. Run the same command again later."
        meaning = MEANINGS.get(status, default).format(endpoint=constants.ENDPOINT)
        answer = (error.server_message or str(error)).strip().splitlines()
        raise UserError(
            f"{action} failed: {meaning}\n  the Hub answered: {status} {answer[0] if answer else ''}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UserError(
            f"{action} failed: it needs the network, and HF_HUB_OFFLINE is set. Unset it to push."
        ) from error
    except (HTTPError, OSError, RuntimeError) as error:
        raise UserError(
            f"{action} failed: {constants.ENDPOINT} could not be reached ({error}). What has arrived is kept: run the "
            "same command again."
        ) from error
