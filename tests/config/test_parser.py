"""The options: defaults are the book's, recipes are options, mistakes are named."""

import json
from enum import Enum
from importlib import resources
from pathlib import Path

import pytest
import yaml
from transformers.integrations import unset_hf_deepspeed_config

from pipeline.config.parser import parse_arguments, peek_arguments, public_arguments, recipe_names
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.runtime.errors import UserError


def test_defaults_are_the_books() -> None:
    data, model, training = parse_arguments([])
    assert (data.corpus_name, data.corpus_root_dir, data.max_length) == ("nsmc", "~/Korpora", 128)
    assert (data.validation_fraction, data.force_download, data.overwrite_cache) == (0.05, False, False)
    assert model.model_name_or_path == "beomi/kcbert-base"
    assert (training.optim, training.learning_rate, training.weight_decay) == ("adam", 5e-5, 0)
    assert (training.lr_scheduler_type, training.gamma) == ("exponential", 0.9)
    assert (training.num_train_epochs, training.seed) == (3, 7)
    assert training.per_device_train_batch_size * training.world_size == 32
    assert training.max_grad_norm == 0  # the book does not clip
    assert training.load_best_model_at_end
    assert (training.metric_for_best_model, training.greater_is_better) == ("loss", False)
    assert training.save_total_limit == 2
    assert Path(training.output_dir) == Path("outputs/kcbert-base-nsmc")


@pytest.mark.parametrize("name", recipe_names())
def test_every_line_of_a_recipe_is_taken(name: str) -> None:
    text = resources.files("pipeline.config.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    parsed = {option: value for group in parse_arguments(["--recipe", name]) for option, value in vars(group).items()}
    defaults = {option: value for group in parse_arguments([]) for option, value in vars(group).items()}
    options = yaml.safe_load(text)
    assert len(options) > 5
    for option, written in options.items():
        value = parsed[option].value if isinstance(parsed[option], Enum) else parsed[option]
        assert value == type(value)(written), option
    assert any(parsed[option] != defaults[option] for option in options)


def test_recipes_of_the_issue_are_there() -> None:
    assert set(recipe_names()) == {"quickstart", "book", "kcbert-large", "kcelectra-base-v2022", "klue-roberta-base"}


def test_book_recipe_selects_on_test() -> None:
    data, _, training = parse_arguments(["--recipe", "book"])
    assert (data.validation_fraction, data.batching, training.global_batch_size) == (0, "max_length", 32)


def test_authors_settings() -> None:
    data, model, training = parse_arguments(["--recipe", "kcelectra-base-v2022"])
    assert (model.model_name_or_path, model.model_revision) == ("beomi/KcELECTRA-base", "v2022")
    assert (data.max_length, training.global_batch_size, training.num_train_epochs) == (50, 64, 8)
    assert (training.optim, training.lr_scheduler_type, training.max_grad_norm) == ("adamw_torch", "linear", 1.0)


@pytest.mark.parametrize(
    "flags", [["--recipe", "quickstart", "--max_length", "32"], ["--max_length=32", "--recipe=quickstart"]]
)
def test_flags_win_over_the_recipe(flags: list[str]) -> None:
    data, _, training = parse_arguments(flags)
    assert data.max_length == 32
    assert training.learning_rate == 5e-4  # the recipe's; PyYAML reads 5e-4 as a string


def test_recipe_from_a_file(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "num_train_epochs: 1\nlabel_names: [labels]\nbf16: false\ndata_seed:\n"
        "lr_scheduler_type: linear\nlr_scheduler_kwargs: {a: 1}\n"
    )
    training = parse_arguments(["--recipe", str(recipe)])[2]
    assert (training.num_train_epochs, training.label_names) == (1, ["labels"])
    assert (training.lr_scheduler_kwargs, training.data_seed) == ({"a": 1}, None)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--max_lenght", "64"], ["unknown option --max_lenght. Did you mean max_length?"]),
        (["--recipe", "qickstart"], ["qickstart", "Did you mean quickstart?"]),
        (["--max_length", "many"], ["--max_length", "many"]),
        (["--max_length", "2"], ["--max_length is 2", "at least 3"]),
        (["--validation_fraction", "0.9"], ["--validation_fraction is 0.9", "0 to 0.5"]),
        (["--validation_fraction", "nan"], ["--validation_fraction is nan"]),
        (["--learning_rate", "0"], ["--learning_rate is 0.0"]),
        (["--learning_rate", "inf"], ["--learning_rate is inf"]),
        (["--gamma", "1.1"], ["--gamma is 1.1"]),
        (["--num_train_epochs", "0"], ["--num_train_epochs is 0.0"]),
        (["--max_steps", "0"], ["--max_steps is 0"]),
        (["--seed", "-2"], ["--seed is -2"]),
        (["--weight_decay", "-1"], ["--weight_decay is -1.0"]),
        (["--max_grad_norm", "-1"], ["--max_grad_norm is -1.0"]),
        (["--global_batch_size", "0"], ["--global_batch_size is 0"]),
        (["--per_device_train_batch_size", "0"], ["--per_device_train_batch_size is 0"]),
        (["--per_device_eval_batch_size", "0"], ["--per_device_eval_batch_size is 0"]),
        (["--gradient_accumulation_steps", "0"], ["--gradient_accumulation_steps is 0"]),
        (["--gradient_accumulation_steps", "5"], ["32", "5", "--per_device_train_batch_size"]),
        (["--corpus_name", "imdb"], ["--corpus_name", "imdb", "nsmc"]),
        (["--batching", "wide"], ["--batching", "wide", "longest"]),
        (["--optim", "adamm"], ["--optim is adamm; expected one of adam, adamw_torch"]),
        (["--lr_scheduler_type", "expo"], ["--lr_scheduler_type is expo; expected one of exponential, linear"]),
        (["--save_strategy", "steps"], ["--save_strategy steps: ", "save and eval strategy"]),
        (["--config_overrides", "num_hidden_layers=2"], ["--config_overrides", "--from_scratch"]),
        (["stray"], ["`stray` belongs to no option"]),
        (["--seed", "4294967296"], ["--seed is 4294967296", "4294967295"]),
        (["--adam_beta1", "1"], ["--adam_beta1 is 1.0"]),
        (["--label_smoothing_factor", "2"], ["--label_smoothing_factor is 2.0"]),
        (["--dataloader_num_workers", "-1"], ["--dataloader_num_workers is -1"]),
        (["--metric_for_best_model", "acc"], ["--metric_for_best_model is acc", "one of loss, accuracy, f1_macro"]),
        (["--report_to", "nosuch"], ["--report_to is nosuch", "tensorboard"]),
        (["--deepspeed", "x.json"], ["--deepspeed x.json: "]),
    ],
)  # fmt: skip
def test_mistakes_are_named(flags: list[str], names: list[str], request: pytest.FixtureRequest) -> None:
    # transformers keeps a broken DeepSpeed config in a global until the garbage collector comes; every model that the
    # same process loads before then fails.
    request.addfinalizer(unset_hf_deepspeed_config)
    with pytest.raises(UserError) as caught:
        parse_arguments(flags)
    for name in names:
        assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) < 5  # no usage of two hundred options


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("max_lenght: 3", ["unknown option `max_lenght`. Did you mean max_length?"]),
        ("recipe: book", ["unknown option `recipe`."]),
        ("# 한글", ["mine.yaml is not UTF-8"]),
        ("- a", ["list"]),
        ("a: [", ["not valid YAML"]),
        ("max_length: 64.5", ["--max_length", "64.5"]),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, text: str, names: list[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text, encoding="cp949")  # what a Korean Windows may save; the same as UTF-8 but for Korean
    with pytest.raises(UserError) as caught:
        parse_arguments(["--recipe", str(recipe)])
    for name in names:
        assert name in str(caught.value)
    assert "Did you mean recipe" not in str(caught.value)


def test_batch_is_shared_out() -> None:
    assert parse_arguments(["--gradient_accumulation_steps", "4"])[2].per_device_train_batch_size == 8
    training = parse_arguments(["--per_device_train_batch_size", "6", "--gradient_accumulation_steps", "4"])[2]
    assert training.global_batch_size == 24


def test_seed_is_drawn() -> None:
    drawn = {parse_arguments(["--seed", "-1"])[2].seed for _ in range(3)}
    assert len(drawn) > 1
    assert all(0 <= seed < 2**31 for seed in drawn)


@pytest.mark.parametrize(("told", "expected"), [(None, False), ("NO", False), ("INDUCTOR", True)])
def test_the_launchers_compiler_is_adopted(told: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate then compiles the model, which needs batches of few shapes."""
    monkeypatch.delenv("ACCELERATE_DYNAMO_BACKEND", raising=False)
    if told:
        monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", told)
    training = parse_arguments([])[2]
    assert (training.torch_compile, training.torch_compile_backend) == (expected, "inductor" if expected else None)


def test_fast_dev_run_has_a_folder_of_its_own() -> None:
    training = parse_arguments(["--fast_dev_run"])[2]
    assert training.max_steps == 1
    assert training.output_dir.endswith("-fast_dev_run")
    assert training.overwrite_output_dir


def test_fast_dev_run_spares_a_folder_of_the_users() -> None:
    assert not parse_arguments(["--fast_dev_run", "--output_dir", "mine"])[2].overwrite_output_dir


@pytest.mark.parametrize(
    ("metric", "greater_is_better"), [("loss", False), ("eval_loss", False), ("f1_macro", True), ("f1_긍정", True)]
)
def test_the_task_says_whether_more_of_a_metric_is_better(metric: str, greater_is_better: bool) -> None:
    words = ["--metric_for_best_model", metric]
    assert parse_arguments(words)[2].greater_is_better == greater_is_better
    told = parse_arguments([*words, "--greater_is_better", str(not greater_is_better)])[2]
    assert told.greater_is_better != greater_is_better  # but the user knows best


def test_an_empty_output_dir_is_the_default_one() -> None:
    assert parse_arguments(["--output_dir", ""])[2].output_dir == parse_arguments([])[2].output_dir


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nsmc"),
        (["--recipe", "quickstart"], "quickstart"),
        (["--recipe", "quickstart", "--corpus_name", "nsmc_layout"], "nsmc_layout"),
    ],
)
def test_peeking_sees_what_will_be_parsed(words: list[str], expected: str) -> None:
    assert peek_arguments(words).corpus_name == parse_arguments(words)[0].corpus_name == expected


def test_the_recipe_wins_over_defaults_and_flags_over_both() -> None:
    defaults = {"max_length": 32, "learning_rate": 1e-3, "validation_fraction": 0.2}
    data, _, training = parse_arguments(["--recipe", "quickstart", "--validation_fraction", "0.1"], defaults)
    assert (data.max_length, training.learning_rate, data.validation_fraction) == (64, 5e-4, 0.1)
    assert parse_arguments([], defaults)[0].max_length == 32


def test_help_tells_of_every_corpus(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--help"])
    assert ended.value.code == 0
    told = "".join(capsys.readouterr().out.split())  # argparse breaks lines, at hyphens too
    for name in corpus_names():
        assert f"{name}:{get_corpus(name).summary}".replace(" ", "") in told
    assert "quickstart:asmallBERTwithoutweights" in told
    for name in recipe_names():
        assert name in told


def test_no_token_is_taken_or_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="HF_TOKEN") as caught:
        parse_arguments(["--hub_token", "hf_secret"])
    assert "hf_secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    public = json.dumps(public_arguments(*parse_arguments([])))
    assert "token" not in public.replace("tokens", "")
    assert "hf_secret" not in public
