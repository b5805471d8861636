"""Opening a run: what it resumes from, and its folder."""

from pathlib import Path
from typing import Any

from pipeline.config.arguments import TrainingArguments
from pipeline.runtime.distributed import check_nodes_agree
from pipeline.runtime.run_dir import create_output_dir, prepare_output_dir
from pipeline.training.checkpoints import checkpoint_to_resume


def open_run(args: TrainingArguments) -> str | None:
    """Find the checkpoint to resume from, and keep the run from mixing with an earlier one in its folder.

    Returns:
        The checkpoint's folder, or None to start from the beginning.

    Raises:
        UserError: as `checkpoint_to_resume` and `prepare_output_dir`.
    """
    assert args.output_dir  # `parse_arguments` has set it
    resume_from = checkpoint_to_resume(args.output_dir, args.resume_from_checkpoint)
    with args.main_process_first(desc="preparing the output folder"):
        if args.should_save:
            prepare_output_dir(
                args.output_dir,
                resuming=bool(resume_from),
                overwrite=args.overwrite_output_dir,
                auto=args.resume_from_checkpoint == "auto",
            )
            create_output_dir(Path(args.output_dir))
    return resume_from


def check_nodes(arguments: dict[str, dict[str, Any]], features: Path, resume_from: str | None) -> None:
    """Check that all nodes have the same options, corpus and checkpoint.

    Raises:
        UserError: on every node, with the differences.
    """
    inputs = {"features": features.name, "checkpoint": resume_from and Path(resume_from).name}
    check_nodes_agree({**arguments["data"], **arguments["model"], **arguments["training"], **inputs})
