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


def test_a_run_without_weights_is_refused(run_dir: Path) -> None:
    publish.check_run(run_dir, dataset=False)
    (run_dir / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        publish.check_run(run_dir, dataset=False)


def test_a_dataset_without_features_is_refused(run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"features, which holds the run's corpus, is gone.*prepare_data\.py"):
        publish.check_run(run_dir, dataset=True)
    (run_dir.parent / "features").mkdir()
    publish.check_run(run_dir, dataset=True)
