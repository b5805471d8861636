"""A space is checked like flags, before anything is loaded: names, types, ranges, and what contradicts."""

from pathlib import Path

import pytest

from pipeline.config.parser import parse_arguments
from pipeline.runtime.errors import UserError
from pipeline.search.space import Parameter, read_space, searchable_options, space_names

QUICKSTART = ["--recipe", "quickstart"]


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "space.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", space_names())
def test_every_space_of_ours_works_with_the_books_run(name: str) -> None:
    space = read_space(name, [])
    assert "learning_rate" in space.searched
    assert space.name == name


def test_ranges_and_choices_become_distributions_of_the_options_types(write) -> None:
    pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    text = """
        learning_rate: {low: 1e-5, high: 2e-4, log: true}
        num_train_epochs: {low: 1, high: 4, step: 1}
        global_batch_size: [16, 32]
        max_length: {low: 32, high: 128, step: 32}
        weight_decay: {low: 0, high: 0.1}
        optim: [adam, adamw_torch]
    """
    found = {name: each.distribution() for name, each in read_space(write(text), QUICKSTART).searched.items()}
    assert found == {
        "learning_rate": FloatDistribution(1e-5, 2e-4, log=True),  # YAML reads 1e-5 as a text
        "num_train_epochs": FloatDistribution(1.0, 4.0, step=1.0),
        "global_batch_size": CategoricalDistribution([16, 32]),
        "max_length": IntDistribution(32, 128, step=32),
        "weight_decay": FloatDistribution(0.0, 0.1),
        "optim": CategoricalDistribution(["adam", "adamw_torch"]),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rte: [1e-5, 1e-4]", "unknown option `learning_rte`. Did you mean learning_rate?"),
        ("learning_rate: {low: 1e-5, hihg: 1e-4}", "has `hihg`; expected low, high and perhaps log or step. Did you"),
        ("learning_rate: {low: 1e-5}", "has no `high`; expected low and high"),
        ("learning_rate: {low: 1e-4, high: 1e-5}", "is from 0.0001 to 1e-05; expected low to be less than high"),
        (
            "learning_rate: {low: -1, high: 1e-4}",
            "which does not work:\n  --learning_rate is -1.0; expected more than 0",
        ),
        ("learning_rate: {low: small, high: 1e-4}", "learning_rate: invalid float value: 'small'"),
        ("learning_rate: {low: 1e-5, high: .inf}", "is inf; expected a finite number"),
        ("weight_decay: {low: 0, high: 0.1, log: true}", "is logarithmic and has low: 0.0; expected low above 0"),
        ("learning_rate: {low: 1, high: 5, log: true, step: 1}", "is logarithmic and has a step"),
        ("learning_rate: {low: 1e-5, high: 1e-4, log: 10}", "has log: 10; expected true or false"),
        ("max_length: {low: 32, high: 120, step: 32}", "expected high to be one of the steps"),
        ("max_length: {low: 32, high: 64, step: 0}", "has step: 0; expected more than 0 and at most 32"),
        ("max_length: {low: 32.5, high: 64}", "max_length: invalid int value: '32.5'"),
        ("optim: {low: adam, high: adamw_torch}", "is no number, so it has no range; expected choices"),
        ("optim: [adam, adamw]", "--optim is adamw; expected one of adam, "),
        ("long_text: [head, tail]", "long_text: invalid choice: 'tail'"),
        ("optim: [adam, adam]", "has 1 choice(s); expected at least two different ones"),
        ("optim: []", "has 0 choice(s)"),
        ("learning_rate:", "learning_rate has no value"),
        ("seed: [1, 2]", "seed cannot be searched: the best of several seeds is luck"),
        ("validation_fraction: [0.1, 0.2]", "trials would be scored on other examples"),
        ("metric_for_best_model: [loss, accuracy]", "it decides what a trial is scored by"),
        ("logging_steps: [1, 2]", "it does not decide what a run computes.\n  Can be searched: "),
        ("per_device_train_batch_size: [8, 16]", "follows from global_batch_size; expected a range of that"),
        ("learning_rate: 1e-4", "leaves nothing to search"),
        ("- learning_rate", "contains list; expected lines like `learning_rate: {low: 1e-5"),
        ("learning_rate: {low: 1", "is not valid YAML"),
        ("warmup_steps: {low: 0.0, high: 0.2}", "allows warmup_steps 0.2, which does not work:\n  --warmup_steps 0.2 "),
        ("gamma: [0.8, 0.9]\nlr_scheduler_type: linear", "--gamma 0.8 does nothing with --lr_scheduler_type linear"),
        ("global_batch_size: [32, 33]\ngradient_accumulation_steps: 2", "allows global_batch_size 33, which does not"),
    ],
)
def test_mistakes_are_refused(write, text: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        read_space(write(text), QUICKSTART)
    assert expected in str(error.value)
    assert "space.yaml" in str(error.value)


def test_a_space_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"neither a YAML file nor one of our spaces: .*Did you mean default"):
        read_space("defualt", [])


def test_a_wrong_flag_is_not_blamed_on_the_space(write) -> None:
    with pytest.raises(UserError) as error:
        read_space(write("learning_rate: [1e-5, 1e-4]"), ["--weight_decay", "-1"])
    assert str(error.value).startswith("--weight_decay is -1.0")


@pytest.mark.parametrize(
    ("flags", "searched"),
    [
        ([], ["learning_rate", "num_train_epochs", "global_batch_size"]),
        (["--learning_rate", "1e-4"], ["num_train_epochs", "global_batch_size"]),
        (["--learning_rate=1e-4"], ["num_train_epochs", "global_batch_size"]),
        (["--per_device_train_batch_size", "8"], ["learning_rate", "num_train_epochs"]),
        (["--max_steps", "10"], ["learning_rate", "global_batch_size"]),
    ],
)
@pytest.mark.parametrize("recipe", [["--recipe", "quickstart"], ["--recipe=quickstart"]])
def test_a_flag_is_not_searched_and_a_recipes_value_is(
    flags: list[str], searched: list[str], recipe: list[str]
) -> None:
    """The recipe gives a learning rate as well."""
    assert list(read_space("quickstart", [*recipe, *flags]).searched) == searched
    assert list(read_space("quickstart", [*flags, *recipe]).searched) == searched


def test_epochs_are_not_searched_where_a_number_of_updates_ends_the_run(write) -> None:
    text = "learning_rate: [1e-5, 1e-4]\nnum_train_epochs: [1, 2]\nmax_steps: 10"
    with pytest.raises(UserError, match="num_train_epochs does nothing with --max_steps 10"):
        read_space(write(text), QUICKSTART)


def test_a_flag_takes_precedence_over_the_space_and_the_space_over_the_recipe(write) -> None:
    path = write("weight_decay: [0.0, 0.1]\nlearning_rate: 3e-4\nseed: 3\n")
    space = read_space(path, [*QUICKSTART, "--seed", "5"])
    *_, training = parse_arguments(space.words({"weight_decay": 0.1}))
    assert (training.learning_rate, training.seed, training.weight_decay) == (3e-4, 5, 0.1)
    given = space.given({"weight_decay": 0.1})
    assert given["learning_rate"] == 3e-4
    assert given["max_length"] == 64  # the recipe's
    assert given["seed"] == 5
    assert "gamma" not in given


def test_the_settings_without_a_search_are_a_trial_if_they_lie_in_the_space(write) -> None:
    path = write("learning_rate: {low: 1e-4, high: 1e-3, log: true}\nnum_train_epochs: {low: 1, high: 3, step: 1}")
    assert read_space(path, QUICKSTART).defaults() == {"learning_rate": 5e-4, "num_train_epochs": 3.0}
    path = write("learning_rate: {low: 1e-5, high: 1e-4}")
    assert read_space(path, QUICKSTART).defaults() is None
    path = write("num_train_epochs: {low: 1, high: 5, step: 4}")  # 3 is between two steps
    assert read_space(path, QUICKSTART).defaults() is None


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Parameter(1, 9, step=2), (1, 3, 9), (0, 2, 10, "3")),
        (Parameter(0.0, 0.3, step=0.1), (0.0, 0.1, 0.2, 0.3), (0.15, 0.4)),
        (Parameter(choices=("adam", "sgd")), ("adam",), ("adamw", 1)),
    ],
)
def test_contains(parameter: Parameter, inside: tuple, outside: tuple) -> None:
    assert all(map(parameter.contains, inside))
    assert not any(map(parameter.contains, outside))


def test_many_parameters_are_checked_one_by_one(write) -> None:
    """Of all combinations of the ends of ten ranges there are 1,024; the last end of the last one is wrong."""
    names = (
        "learning_rate weight_decay max_grad_norm adam_beta1 adam_beta2 adam_epsilon label_smoothing_factor gamma "
        "num_train_epochs"
    ).split()
    assert set(names) <= set(searchable_options())
    text = "\n".join(f"{name}: {{low: 0.5, high: 0.9}}" for name in names)
    assert len(read_space(write(text), QUICKSTART).searched) == 9
    with pytest.raises(UserError, match="gamma is 2"):
        read_space(write(text + "\nmax_length: [16, 32]\n" + "gamma: {low: 0.5, high: 2.0}"), QUICKSTART)
