"""Push a finished run to the Hugging Face Hub, at any time and as often as you like.

python scripts/push_to_hub.py --model_dir outputs/kcbert-base-nsmc --hub_model_id USER/NAME
python scripts/push_to_hub.py --model_dir outputs/kcbert-base-nsmc --hub_model_id USER/NAME --private --dataset

The token comes from HF_TOKEN or `hf auth login`, never from an option.
"""

import argparse
from pathlib import Path

from pipeline.publishing.hub import check_destination, create_repository
from pipeline.publishing.publish import check_run, publish_dataset, publish_model
from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    options = parse()
    # Everything is checked before anything is created, and created before the model is sent, which can take a while.
    with_dataset = options.dataset is not None
    check_run(options.model_dir, dataset=with_dataset)
    model = check_destination(options.hub_model_id, private=options.private, revision=options.revision)
    dataset = None
    if with_dataset:
        name = options.dataset or f"{model.repo_id}-data"
        dataset = check_destination(name, repo_type="dataset", private=options.private, revision=options.revision)
    create_repository(model)
    create_repository(dataset)
    print(f"model    {publish_model(options.model_dir, model)}", flush=True)
    if dataset:
        print(f"dataset  {publish_dataset(options.model_dir, dataset)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, type=Path, help="A folder that scripts/train.py wrote.")
    parser.add_argument("--hub_model_id", required=True, help="USER/NAME, or NAME for the token's own user.")
    parser.add_argument("--private", action="store_true", help="Create it private; one that exists stays as it is.")
    parser.add_argument("--revision", default="main", help="The branch to write; created if it does not exist.")
    parser.add_argument(
        "--dataset",
        nargs="?",
        const="",
        metavar="USER/NAME",
        help="Also push the text dataset as Parquet. Default name: <hub_model_id>-data.",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
