"""The options: defaults are the book's, recipes are options, mistakes are named."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from pipeline.config import help_page, parser
from pipeline.config.arguments import NEEDED, REFUSED, DataArguments, ModelArguments, TrainingArguments
from pipeline.config.parser import (
    changed_options,
    check_metric,
    given_options,
    parse_arguments,
    peek_arguments,
    public_arguments,
    recipe_names,
)
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.runtime.errors import UserError
from pipeline.tasks import SingleLabelClassification


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
        "num_train_epochs: 1\nreport_to: [none]\nbf16: false\ndata_seed:\n"
        "lr_scheduler_type: linear\nlr_scheduler_kwargs: {a: 1}\n"
    )
    training = parse_arguments(["--recipe", str(recipe)])[2]
    assert (training.num_train_epochs, training.report_to) == (1, [])
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
        (["--report_to", "tensorboard", "nosuch"], ["--report_to is nosuch", "tensorboard"]),
        (["--report_to", "none", "tensorboard"], ["--report_to none tensorboard", "alone"]),
        (["--deepspeed", "x.json"], ["--deepspeed x.json: there is no such file"]),
        (["--deepspeed", __file__], [f"--deepspeed {__file__}: DeepSpeed is not installed", "fsdp.yaml"]),
        (["--bf16", "--fp16"], ["--bf16 and --fp16"]),
        (["--output_dir", ""], ["--output_dir is empty", "leave it out"]),
        (["--train_file", ""], ["--train_file is empty"]),
        (["--global_batch_size", "33", "--per_device_train_batch_size", "32"], ["33", "32", "contradict"]),
        (["--warmup_steps", "9"], ["--warmup_steps 9 does nothing", "--lr_scheduler_type linear"]),
        (["--config_overrides", "a=", "--from_scratch"], ["--config_overrides a= has `a=`", "NAME=VALUE"]),
        (["--config_overrides", "a=1,b", "--from_scratch"], ["has `b`", "NAME=VALUE"]),
        (["--help_me"], ["unknown option --help_me"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(flags: list[str], names: list[str]) -> None:
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
        ("max_length: [64, 65]", ["max_length", "list of 2", "expected one value"]),
        ("[a]: 1", ["not valid YAML"]),
        ("do_predict: true", ["--do_predict True does nothing here"]),
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


def test_a_metric_of_own_data_is_checked_once_its_task_is_known() -> None:
    words = ["--train_file", "a.csv", "--metric_for_best_model", "f1_빨강"]
    training = parse_arguments(words)[2]
    check_metric(training, SingleLabelClassification(("빨강", "파랑")), False)
    assert training.greater_is_better
    training.greater_is_better = False
    check_metric(training, SingleLabelClassification(("빨강", "파랑")), True)
    assert not training.greater_is_better  # the user knows best
    with pytest.raises(UserError, match="--metric_for_best_model is f1_빨강; expected one of loss, accuracy"):
        check_metric(training, SingleLabelClassification(("하나", "둘")), False)


def test_the_metrics_of_a_thousand_classes_are_not_all_listed() -> None:
    training = parse_arguments(["--train_file", "a.csv", "--metric_for_best_model", "f1_11111"])[2]
    with pytest.raises(UserError) as caught:
        check_metric(training, SingleLabelClassification(tuple(map(str, range(1000)))), False)
    assert len(str(caught.value)) < 500
    assert "Did you mean f1_111?" in str(caught.value)


# Options that would do nothing.

HARMLESS = {"do_train": "true", "do_eval": "true", "hub_strategy": "end", "dataloader_drop_last": "false"}
HARMFUL = {"length_column_name": "a", "label_names": "a", "include_for_metrics": "loss", "hub_strategy": "every_save"}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_would_do_nothing_are_refused(name: str) -> None:
    harmless, reason = REFUSED[name]
    value = HARMFUL.get(name) or str(not harmless)
    with pytest.raises(UserError) as caught:
        parse_arguments([f"--{name}", value])
    assert str(caught.value) == f"--{name} {value} does nothing here: {reason}"


@pytest.mark.parametrize(("name", "value"), HARMLESS.items())
def test_what_happens_anyway_may_be_said(name: str, value: str) -> None:
    parse_arguments([f"--{name}", value])


@pytest.mark.parametrize("name", NEEDED)
def test_flags_that_need_another_option_say_so(name: str, tmp_path: Path) -> None:
    other, expected = NEEDED[name]
    without = {"lr_scheduler_type": "linear"}.get(other, "epoch")
    value = "0.5" if name == "gamma" else "5"
    given = ["--save_strategy", "epoch"] if other == "eval_strategy" else []
    with pytest.raises(UserError, match=rf"--{name} {value}(\.0)? does nothing with --{other} {without}. .*{expected}"):
        parse_arguments([f"--{name}", value, f"--{other}", without, *given])
    recipe = tmp_path / "mine.yaml"  # of which a flag may change one half
    recipe.write_text(f"{name}: {value}\n")
    parse_arguments(["--recipe", str(recipe), f"--{other}", without, *given])


@pytest.mark.parametrize(
    ("flag", "expected"), [("--global_batch_size", (64, 64)), ("--per_device_train_batch_size", (64, 64))]
)
def test_a_flag_wins_over_the_other_batch_size_of_a_recipe(
    tmp_path: Path, flag: str, expected: tuple[int, int]
) -> None:
    recipe = tmp_path / "mine.yaml"
    for name in ("global_batch_size", "per_device_train_batch_size"):
        recipe.write_text(f"{name}: 48\n")
        training = parse_arguments(["--recipe", str(recipe), flag, "64"])[2]
        assert (training.global_batch_size, training.per_device_train_batch_size) == expected


def test_both_batch_sizes_may_be_given_if_they_agree() -> None:
    words = "--global_batch_size 64 --per_device_train_batch_size 16 --gradient_accumulation_steps 4".split()
    assert parse_arguments(words)[2].global_batch_size == 64


# What was given.


def test_given_options_are_those_of_flags_and_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("max_length: 128\nfp16: false\n")
    words = ["--recipe", str(recipe), "--seed", "7", "--model", "a/b"]
    assert given_options(words) == {"recipe", "max_length", "fp16", "seed", "model_name_or_path"}
    assert given_options([]) == set()


def test_changed_options_are_those_with_another_value_than_the_default() -> None:
    words = "--seed 7 --max_length 64 --model a/b --report_to none --lr_scheduler_type linear --global_batch_size 32"
    assert changed_options(words.split()) == {
        **{"max_length": 64, "model_name_or_path": "a/b", "report_to": ["none"], "lr_scheduler_type": "linear"},
        "global_batch_size": 32,  # which is derived, if it is not given
    }


@pytest.mark.parametrize(
    ("words", "num_examples", "expected"),
    [
        ([], 142_500, 50),  # the book's run is logged as ever
        ([], 5300, 49),  # 498 updates
        ([], 3200, 30),
        ([], 10, 1),
        (["--max_steps", "30"], 142_500, 3),
        (["--num_train_epochs", "0.5", "--global_batch_size", "16"], 3200, 10),
        (["--fast_dev_run"], 142_500, 1),
    ],
)
def test_a_run_is_logged_ten_times_at_least(words: list[str], num_examples: int, expected: int) -> None:
    assert parse_arguments(words)[2].default_logging_steps(num_examples) == expected


def test_several_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["tensorboard", "x"])
    assert parse_arguments(["--report_to", "tensorboard", "x"])[2].report_to == ["tensorboard", "x"]
    assert parse_arguments(["--report_to", "none"])[2].report_to == []
    assert parse_arguments(["--report_to", "all"])[2].report_to == ["tensorboard", "x"]
    assert parse_arguments([])[2].report_to == ["tensorboard"]


@pytest.mark.parametrize(("terminal", "expected"), [(True, False), (False, True)])
def test_a_bar_is_for_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool, expected: bool) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert parse_arguments([])[2].disable_tqdm == expected
    assert parse_arguments(["--disable_tqdm", str(not expected)])[2].disable_tqdm != expected


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


# --help.


def help_text(capsys: pytest.CaptureFixture, *words: str, **options: object) -> str:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(list(words), **options)
    assert not ended.value.code
    return capsys.readouterr().out


def options_in(text: str) -> set[str]:
    return set(re.findall(r"^  --(\w+)", text, re.MULTILINE))


def test_help_tells_of_every_corpus(capsys: pytest.CaptureFixture) -> None:
    told = "".join(help_text(capsys, "--help").split())  # lines are broken
    for name in corpus_names():
        assert f"{name}:{get_corpus(name).summary}".replace(" ", "") in told
    assert "quickstart:asmallBERTwithoutweights" in told
    for name in recipe_names():
        assert name in told


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--no_such_option", "--help"], ["--recipe", "no", "--help"]])
def test_help_begins_with_what_the_script_does(capsys: pytest.CaptureFixture, words: list[str]) -> None:
    text = help_text(capsys, *words, about="Fine-tune.\n\naccelerate launch train.py  # an example\n")
    assert text.startswith("Fine-tune.\n\naccelerate launch train.py  # an example\n\n  --recipe NAME_OR_YAML")


def test_help_shows_what_users_set_and_help_all_the_rest(capsys: pytest.CaptureFixture) -> None:
    text, everything = help_text(capsys, "--help"), help_text(capsys, "--help_all")
    shown, all_options = options_in(text), options_in(everything)
    own = {option.name for group in (DataArguments, ModelArguments) for option in fields(group)}
    assert own | {"recipe", "learning_rate", "global_batch_size", "output_dir", "bf16", "help_all"} <= shown
    assert not shown & {"deepspeed", "adam_beta1", *REFUSED}
    assert len(shown - own) < 45
    every = {option.name for option in fields(TrainingArguments) if option.init}
    assert all_options == (every | shown) - REFUSED.keys()
    assert len(text.splitlines()) < len(everything.splitlines()) < 500
    assert max(map(len, text.splitlines())) <= 120


def test_help_of_an_option(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = help_text(capsys, "--help")
    assert "Default: False" not in text  # of a switch
    lines = [line for line in text.splitlines() if line.startswith("  --")]
    for line in (
        "  --seed SEED                     Random seed; -1 draws one and logs it. Default: 7.",
        "  --max_grad_norm NORM            Clip gradients to this norm; 0: no clipping, as in the book.",
        "  --model_name_or_path, --model NAME_OR_FOLDER",
        "  --batching auto|packed|longest|max_length",
        "  --report_to TRACKER ...         Trackers, one or several: tensorboard, wandb, ...; none, or all",
        "  --weight_decay DECAY            Weight decay coefficient applied by the optimizer. Default: 0.0.",
    ):
        assert line in lines


@pytest.mark.parametrize("shown", [help_page.PREPARATION, help_page.EVALUATION])
def test_other_scripts_show_only_what_makes_sense(capsys: pytest.CaptureFixture, shown: dict) -> None:
    options = options_in(help_text(capsys, "--help", shown=shown))
    assert {"train_file", "text_column", "max_length", "model_name_or_path"} <= options
    assert not options & {"deepspeed", "learning_rate", "num_train_epochs", "class_weights", "from_scratch"}
    assert ("output_dir" in options) == (shown is help_page.EVALUATION)
    assert options == {"recipe", "help_all"} | {name for names in shown.values() for name in names}


def test_no_token_is_taken_or_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="HF_TOKEN") as caught:
        parse_arguments(["--hub_token", "hf_secret"])
    assert "hf_secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    public = json.dumps(public_arguments(*parse_arguments([])))
    assert "token" not in public.replace("tokens", "")
    assert "hf_secret" not in public


def test_threads_parse_side_by_side() -> None:
    """As replicas of a TPU do. Types are as before the first parser, which simplifies them in place."""
    types = [(field, get_type_hints(group)[field.name]) for group in parser.GROUPS for field in fields(group)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                for field, its_type in types:
                    field.type = its_type
                parsed = list(pool.map(lambda _: parse_arguments(["--max_length", "7"])[0].max_length, range(8)))
                assert parsed == [7] * 8
    finally:
        sys.setswitchinterval(interval)
