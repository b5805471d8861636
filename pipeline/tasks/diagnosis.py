"""Whether a model has learnt anything: the facts and the advice that `Task.diagnose` puts into one line."""

import math

MIN_EXAMPLES = 20  # for one answer to all of them to tell something
MIN_MISSED = 5  # examples that one answer is wrong for
MIN_EXAMPLES_OF_LOSS = 100  # below, a loss may be that of guessing by chance
STAYS_AT = 0.99  # of the loss of guessing
IMBALANCED = 0.8  # share of the largest class
ADVICE = (
    "a lower learning rate, warm-up and clipping, such as --learning_rate 2e-5 --lr_scheduler_type linear "
    "--warmup_steps 100 --max_grad_norm 1"
)
DIVERGED = f"The model's outputs are not finite numbers: training has diverged. What usually helps: {ADVICE}."


def constant_answer(answer: str, num_examples: int, missed: int, imbalanced: bool = False) -> str | None:
    """The line on a model that gives one answer to every example, or None if too few examples tell."""
    if num_examples < MIN_EXAMPLES or missed < MIN_MISSED:
        return None
    helps = f"--class_weights balanced; or {ADVICE}" if imbalanced else ADVICE
    return f"The model predicts {answer} for all {num_examples:,} examples. What usually helps: {helps}."


def loss_of_guessing(num_examples: int, loss: float, guessing: float, better_than_chance: bool) -> str | None:
    """The line on a model whose loss is not below that of always answering with the shares of the labels.

    Args:
        guessing: the loss of the best constant answer.
        better_than_chance: whether the decisions are: a model that is right but too sure of itself has a high loss too.
    """
    if num_examples < MIN_EXAMPLES_OF_LOSS or loss < STAYS_AT * guessing or better_than_chance:
        return None
    return (
        f"The model is not better than guessing: its loss is not below {guessing:.4f}, which knowing the shares of the "
        f"labels alone would give. What usually helps: {ADVICE}."
    )


def agrees_better_than_chance(agreement: list[float], by_chance: list[float], num_examples: int) -> bool:
    """Whether predictions agree with references by more than two standard errors above chance (Cohen 1960).

    Args:
        agreement: for each decision on an example, the share of examples where prediction and reference agree.
        by_chance: the share that would if the two were independent.
    """
    variance = sum(share * (1 - share) for share in by_chance) / num_examples
    return sum(agreement) - sum(by_chance) > 2 * math.sqrt(variance)
