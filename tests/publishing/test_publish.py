"""What a failed push at the end of training tells, and what is checked before a push."""

import runpy
import shlex
from pathlib import Path

import pytest
from support import ROOT

from pipeline.publishing import publish
from pipeline.publishing.hub import Destination
from pipeline.runtime.errors import UserError


@pytest.mark.parametrize(
    ("private", "revision"), [(False, "main"), (True, "main"), (False, "a branch"), (True, "trial")]
)
def test_the_recovery_command_pushes_the_same(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, private: bool, revision: str
) -> None:
    def fail(*_: object) -> str:
        raise UserError("the Hub is down")

    monkeypatch.setattr(publish, "push", fail)
    with pytest.raises(UserError) as caught:
        publish.publish_finished_run(run_dir, Destination("me/reviews", "model", private, revision))
    problem, state, command = str(caught.value).splitlines()
    assert problem == "the Hub is down"
    assert f"The run is complete in {run_dir}." in state
    python, script, *words = shlex.split(command)
    assert (python, script) == ("python", "scripts/push_to_hub.py")
    monkeypatch.setattr("sys.argv", [script, *words])
    options = runpy.run_path(str(ROOT / script))["parse"]()
    assert vars(options) == {
        "model_dir": run_dir,
        "hub_model_id": "me/reviews",
        "private": private,
        "revision": revision,
        "dataset": None,
    }


def test_the_card_is_written_for_the_name_on_the_hub(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "push", lambda *_: "url of the commit")
    destination = Destination("me/reviews", "model", False, "main")
    assert publish.publish_finished_run(run_dir, destination) == "url of the commit"
    assert 'model="me/reviews"' in (run_dir / "README.md").read_text(encoding="utf-8")


def test_the_users_own_readme_is_pushed_as_it_is(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_dir / "README.md").write_text("내 모델", encoding="utf-8")
    pushed: list[str] = []
    monkeypatch.setattr(publish, "push", lambda _, __, patterns, ___: pushed.extend(patterns) or "url of the commit")
    publish.publish_model(run_dir, Destination("me/reviews", "model", False, "main"))
    assert (run_dir / "README.md").read_text(encoding="utf-8") == "내 모델"
    assert 'model="me/reviews"' in (run_dir / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "README.md" in pushed
    assert "MODEL_CARD.md" not in pushed


@pytest.mark.parametrize(("corpus", "private"), [("nsmc", False), ("nsmc_layout", True), ("nsmc_layout", False)])
def test_data_of_unknown_licence_is_pushed_with_a_warning(
    make_run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, corpus: str, private: bool
) -> None:
    from datasets import Dataset, DatasetDict

    run_dir, columns = make_run(corpus=corpus), {"text": ["글"], "label": [0], "input_ids": [[1]]}
    splits = {split: Dataset.from_dict(columns) for split in ("train", "test")}
    DatasetDict(splits).save_to_disk(run_dir.parent / "features")
    monkeypatch.setattr(publish, "push", lambda *_: "url of the commit")
    assert publish.publish_dataset(run_dir, Destination("me/d", "dataset", private, "main")) == "url of the commit"
    assert any("licence" in message and "me/d" in message for message in caplog.messages) is (
        corpus == "nsmc_layout" and not private
    )


def test_a_run_without_weights_is_refused(run_dir: Path) -> None:
    publish.check_run(run_dir, dataset=False)
    (run_dir / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        publish.check_run(run_dir, dataset=False)


def test_a_missing_folder_is_no_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        publish.check_run(tmp_path / "nowhere", dataset=False)


def test_a_dataset_without_features_is_refused(run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"features, which holds the run's corpus, is gone.*prepare_data\.py"):
        publish.check_run(run_dir, dataset=True)
    (run_dir.parent / "features").mkdir()
    publish.check_run(run_dir, dataset=True)
