"""The options of a search are told from those of training, and what has no use in a search is refused."""

import pytest

from pipeline.config.arguments import TrainingArguments
from pipeline.runtime.errors import UserError
from pipeline.search.options import NAMES, check_training_options, help_text, split_options


def test_options_of_search_and_of_training_are_told_apart() -> None:
    words = ["--recipe", "quickstart", "--num_trials", "3", "--text_column", "a", "b", "--storage=s.db", "--bf16"]
    options, flags = split_options(words)
    assert (options.space, options.num_trials, options.storage, options.timeout) == ("default", 3, "s.db", None)
    assert flags == ["--recipe", "quickstart", "--text_column", "a", "b", "--bf16"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--num_trial 3", "unknown option --num_trial. Did you mean num_trials?"),
        ("--time_out=3", "unknown option --time_out. Did you mean timeout?"),
        ("--num_trials 0", "--num_trials is 0; expected at least 1"),
        ("--num_trials many", "argument --num_trials: invalid int value: 'many'"),
        ("--timeout 0", "--timeout is 0; expected more than 0 seconds"),
        ("--timeout nan", "--timeout is nan"),
        ("--space=", "--space is empty"),
        ("--recipe quickstart --seed -1", "--seed -1 would draw another seed for each trial"),
        ("--overwrite_output_dir", "--overwrite_output_dir has no use in a search"),
        ("--resume_from_checkpoint=auto", "--resume_from_checkpoint has no use in a search"),
    ],
)
def test_mistakes_are_refused(words: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        split_options(words.split())
    assert expected in str(error.value)


def test_a_recipe_may_overwrite() -> None:
    """The quickstart's does."""
    assert split_options(["--recipe", "quickstart"])[1] == ["--recipe", "quickstart"]


def test_other_trackers_and_several_processes_are_refused(monkeypatch, tmp_path) -> None:
    for trackers in ("none", "tensorboard"):
        check_training_options(TrainingArguments(output_dir=str(tmp_path), report_to=trackers))
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    arguments.report_to = ["tensorboard", "wandb"]
    with pytest.raises(UserError, match="--report_to wandb: "):
        check_training_options(arguments)
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(UserError, match="2 processes were started to train together"):
        check_training_options(arguments)


def test_help_names_every_option_of_the_search() -> None:
    text = help_text()
    assert text.startswith("search\n  --space NAME_OR_YAML")
    assert all(f"--{name} " in text for name in NAMES)
