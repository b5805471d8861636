"""scripts/compare.py as a user runs it, on stored predictions whose differences are known."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT, run
from support.stored_runs import save_run

from pipeline.evaluation.comparison_report import compare, describe, disagreements, find_runs, screen
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task

TWO = SingleLabelClassification(("부정", "긍정"))
MULTI = MultiLabelClassification(("욕설", "혐오"), thresholds=(0.5, 0.2))
NUMBER = Regression(("점수",))
COUNT = 1000


def save_side(
    folder: Path, wrong: list[int], task: Task = TWO, seeds: tuple[int, ...] = (), options: dict | None = None
) -> Path:
    """A run of `TWO` that is wrong at the first so many examples, or a folder of seeds, one more wrong in each.

    Example 0 has the most certain prediction, with a probability of 0.99, and the others less and less.
    """
    labels = np.arange(COUNT) % 2
    for seed in seeds or (0,):
        run_folder = folder / f"seed-{seed}" if seeds else folder
        certainty = np.linspace(4.6, 1, COUNT) + 0.001 * seed
        right = ~np.isin(np.arange(COUNT), wrong + [500 + seed] * bool(seeds))
        sign = np.where((labels == 1) == right, 1, -1)
        logits = np.stack([-sign * certainty / 2, sign * certainty / 2], axis=1).astype(np.float32)
        seen = np.arange(COUNT) < 30
        save_run(
            run_folder,
            task,
            {"validation": logits[:100], "test": logits},
            {"validation": labels[:100], "test": labels},
            seen,
        )
        (run_folder / "run.json").write_text(json.dumps({"arguments": {"training": {"seed": seed, **(options or {})}}}))
        (run_folder / "results.json").write_text('{"checkpoint_chosen_on": "validation"}')
    return folder


def test_two_runs(tmp_path: Path) -> None:
    save_side(tmp_path / "a", list(range(60)), options={"learning_rate": 1e-5})
    save_side(tmp_path / "b", list(range(40, 70)), options={"learning_rate": 2e-5})
    words = ("compare.py", "a", "b", "--examples", "3", "--output", "out.json")
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Model B is better by 3.00 points of accuracy [1.")
    assert "on this test set a difference below 1.60 cannot be told from chance." in lines[0]
    assert "this does not tell which settings are better" in lines[0]
    assert "Options that differ: learning_rate 1e-05 and 2e-05" in lines
    assert "both right 930, only A right 10, only B right 40, both wrong 20" in lines
    assert lines[-4:] == [
        "label          A          B  text",
        "부정   긍정 0.99  부정 0.99  text test 0",
        "긍정   부정 0.99  긍정 0.99  text test 1",
        "부정   긍정 0.99  부정 0.99  text test 2",
    ]
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written["sentence"] == lines[0]
    assert written["metrics"]["accuracy"]["a"] == [0.94]
    assert written["metrics"]["accuracy"]["difference"] == pytest.approx(0.03)
    assert written["metrics"]["accuracy"]["significant"]
    assert written["mcnemar"]["only_b_right"] == 40
    assert [each["text"] for each in written["examples"]] == ["text test 0", "text test 1", "text test 2"]
    assert written["options"] == {"learning_rate": {"a": 1e-5, "b": 2e-5}}
    refused = run(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--output out.json exists. Name another file, or replace it with --overwrite." in refused.stderr
    assert run(*words, "--overwrite", cwd=tmp_path).returncode == 0


def test_folders_of_seeds_and_named_runs(tmp_path: Path) -> None:
    save_side(tmp_path / "a", list(range(60)), seeds=(1, 2, 10))
    save_side(tmp_path / "b", list(range(20)), seeds=(1, 2))
    assert [path.name for path in find_runs([tmp_path / "a"])] == ["seed-1", "seed-2", "seed-10"]
    result = run("compare.py", "a", "b", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("B is better by 4.00 points of accuracy [")
    assert "with 3 and 2 seeds on this test set a difference below" in result.stdout
    assert "sd of seeds" in result.stdout
    assert "McNemar" not in result.stdout
    named = run("compare.py", "--a", "a/seed-1", "a/seed-2", "a/seed-10", "--b", "b/seed-1", "b/seed-2", cwd=tmp_path)
    assert named.stdout == result.stdout
    one = run("compare.py", "--a", "a/seed-1", "--b", "b", cwd=tmp_path)
    assert "A is one run: other seeds of it are taken to differ as much as those of B do." in one.stdout


def test_mistakes_are_said_in_a_line(tmp_path: Path) -> None:
    save_side(tmp_path / "a", [1])
    save_side(tmp_path / "b", [1])
    save_side(tmp_path / "other", [2], SingleLabelClassification(("나쁨", "좋음")))
    save_side(tmp_path / "c", [2])
    (tmp_path / "empty").mkdir()
    for words, said in (
        (("a", "empty"), "empty has no predictions.jsonl. Expected the folder of a finished run; if it has a model"),
        (("a", "none"), "none has no predictions.jsonl: there is no such folder."),
        (("a", "a"), "a is given twice."),
        (("a", "other"), "the labels of a are 부정, 긍정; those of other are 나쁨, 좋음."),
        (("--a", "a", "b", "--b", "c"), "a and b predict the same to the last digit"),
        (("a", "b", "--output", "no/out.json"), "--output no/out.json: there is no folder no."),
    ):
        result = run("compare.py", *words, cwd=tmp_path)
        assert result.returncode == 2, words
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    for words in (("a",), ("a", "b", "--a", "b"), ("--a", "a")):
        assert "give two folders, or --a RUN ... --b RUN ..." in run("compare.py", *words, cwd=tmp_path).stderr


def test_neither_torch_nor_transformers_is_imported(tmp_path: Path) -> None:
    a, b = save_side(tmp_path / "a", [1]), save_side(tmp_path / "b", [2])
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__'); print(*sorted(sys.modules))"
    script = tmp_path / "code.py"
    script.write_text(code.replace("sys.argv[1]", repr(str(ROOT / "scripts" / "compare.py"))), encoding="utf-8")
    modules = subprocess.run(
        [sys.executable, str(script), str(a), str(b)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    assert not {"torch", "transformers", "datasets", "pyarrow", "scipy.stats"} & set(modules.split())


def test_only_examples_not_seen_in_training(tmp_path: Path) -> None:
    a, b = save_side(tmp_path / "a", list(range(50))), save_side(tmp_path / "b", [])
    found = compare([a], [b], unseen=True)
    assert len(found.a[0]) == COUNT - 30
    assert found.differences[0].value == pytest.approx(20 / 970)
    assert describe(found, [])["num_examples"] == 970
    assert len(compare([a], [b], split="validation").a[0]) == 100


def test_what_a_reader_must_know(tmp_path: Path) -> None:
    a = save_side(tmp_path / "a", list(range(60)), seeds=(1, 2))
    b = save_side(tmp_path / "b", list(range(40)))
    (a / "seed-2" / "run.json").write_text('{"arguments": {"training": {"seed": 2, "learning_rate": 0.5}}}')
    (b / "results.json").write_text('{"checkpoint_chosen_on": "test"}')
    lines = (b / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    (b / "predictions.jsonl").write_text("\n".join(reversed(lines)), encoding="utf-8")
    found = compare(find_runs([a]), [b])
    assert found.notes == [
        f"The examples of {b} had another order, and were put in that of the first.",
        f"Chosen on the test examples, so that its test score is too high: {b}.",
        "The runs of A differ in more than the seed: learning_rate. Their spread is not that of seeds.",
    ]
    assert all(note in screen(found, []) for note in found.notes)


def test_a_difference_that_may_be_chance(tmp_path: Path) -> None:
    a, b = save_side(tmp_path / "a", list(range(60))), save_side(tmp_path / "b", list(range(58)))
    text = screen(compare([a], [b]), [])
    assert text.startswith(
        "Model A and Model B cannot be told apart: Model B is ahead by 0.20 points of accuracy [0.00, "
    )
    assert "on this test set a difference below 0.60 cannot be told from chance" in text  # 6 to 0
    text = screen(compare([b], [a]), [])
    assert "Model A is ahead by 0.20 points" in text
    a, b = save_side(tmp_path / "c", list(range(17))), save_side(tmp_path / "d", list(range(17, 24)))
    text = screen(compare([a], [b]), [])  # McNemar's test is stricter than the interval here
    assert "cannot be told apart: Model B is ahead by 1.00 points of accuracy [0.10, " in text
    assert "] (p = 0.064), and on this test set" in text


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.random((400, 2)) < 0.4
    good, bad = (5 * (labels - 0.5) + random.normal(0, noise, (400, 2)) for noise in (1, 3))
    for name, logits in (("good", good), ("bad", bad)):
        save_run(tmp_path / name, MULTI, {"test": logits.astype(np.float32)}, {"test": labels})
    found = compare([tmp_path / "good"], [tmp_path / "bad"])
    examples = disagreements(found, 400)
    decided = [run.predicted for run in (found.a[0], found.b[0])]
    assert len(examples) == sum(one != other for one, other in zip(*decided, strict=True))
    assert all(each["a"]["predicted"] != each["b"]["predicted"] for each in examples)
    assert [each["distance"] for each in examples] == sorted((each["distance"] for each in examples), reverse=True)
    text = screen(found, examples[:2])
    assert re.match(r"Model A is better by [\d.]+ points of macro F1 \[\d", text)  # no minus
    assert "subset accuracy" in text

    numbers = random.normal(3, 1, 300).astype(np.float32)
    for name, noise in (("close", 0.3), ("far", 0.8)):
        logits = (numbers + random.normal(0, noise, 300)).astype(np.float32)[:, None]
        save_run(tmp_path / name, NUMBER, {"test": logits}, {"test": numbers})
    found = compare([tmp_path / "far"], [tmp_path / "close"])
    assert found.mcnemar is None
    pearson, _, rmse = found.differences
    assert pearson.value > 0
    assert rmse.value < 0
    assert pearson.favours_b
    assert rmse.favours_b
    examples = disagreements(found, 5)
    gaps = np.abs(found.a[0].decisions - found.b[0].decisions)
    assert [each["distance"] for each in examples] == pytest.approx(sorted(gaps, reverse=True)[:5])
    text = screen(found, examples)
    assert " of Pearson correlation [0." in text
    assert "accuracy" not in text
    assert "mcnemar" not in describe(found, examples)


def test_seeds_decide_by_the_mean_of_their_probabilities(tmp_path: Path) -> None:
    labels = np.zeros(3, dtype=int)
    for name, scores in (("a-1", [2.0, -1, 0]), ("a-2", [-0.5, -1, 0.1]), ("b-1", [2, 2, -1]), ("b-2", [2, 1.9, -3])):
        logits = np.stack([np.array(scores), -np.array(scores)], axis=1).astype(np.float32)
        save_run(tmp_path / name, TWO, {"test": logits}, {"test": labels})
    found = compare([tmp_path / "a-1", tmp_path / "a-2"], [tmp_path / "b-1", tmp_path / "b-2"])
    assert [each["text"] for each in disagreements(found, 10)] == ["text test 1", "text test 2"]
