"""Push a finished run to the Hugging Face Hub, now or at any later time. Safe to repeat.

python scripts/push_to_hub.py --model_dir outputs/kcbert-base-nsmc --hub_model_id USER/NAME
python scripts/push_to_hub.py --model_dir outputs/kcbert-base-nsmc --hub_model_id USER/NAME --private --dataset

The token comes from HF_TOKEN or `hf auth login`, never from an option.
"""

import argparse
from pathlib import Path

from pipeline.hub import check_destination
from pipeline.launch import command, start_logging
from pipeline.publish import check_run, publish_dataset, publish_model


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, type=Path, help="What scripts/train.py left.")
    parser.add_argument("--hub_model_id", required=True, help="USER/NAME, or NAME for the token's own user.")
    parser.add_argument("--private", action="store_true", help="Create it private; one that exists stays as it is.")
    parser.add_argument("--revision", default="main", help="The branch to write, created if it is not there.")
    parser.add_argument(
        "--dataset",
        nargs="?",
        const="",
        metavar="USER/NAME",
        help="Push the text dataset as Parquet as well, by default to <hub_model_id>-data.",
    )
    return parser.parse_args()


@command
def main() -> None:
    start_logging()
    options = parse()
    wants_dataset = options.dataset is not None
    check_run(options.model_dir, dataset=wants_dataset)
    where = {"private": options.private, "revision": options.revision}
    model = check_destination(options.hub_model_id, **where)
    if wants_dataset:  # checked before the model is sent, which may take a while
        dataset = check_destination(options.dataset or f"{model.repo_id}-data", repo_type="dataset", **where)
    print(f"model    {publish_model(options.model_dir, model)}", flush=True)
    if wants_dataset:
        print(f"dataset  {publish_dataset(options.model_dir, dataset)}")


if __name__ == "__main__":
    main()
