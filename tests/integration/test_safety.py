"""Nothing that is loaded can run code or write outside its folder, and no cache of another user's is trusted."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import OWN, TASK, soak_resume, token_rows
from support.hub import Hub
from support.soak_resume import small_corpus
from transformers import set_seed

from pipeline.config.arguments import TrainingArguments
from pipeline.data.collators import PaddingCollator
from pipeline.data.features import load_features
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.runtime.build_once import trusted_folder
from pipeline.runtime.errors import UserError
from pipeline.training.checkpoints import find_corruption, read_manifest, write_manifest
from pipeline.training.trainer import Trainer


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self):
        return (os.mkdir, (str(self.evidence),))


def plant(path: Path, evidence: Path, zipped: bool = True) -> None:
    """Put a malicious pickle there, as torch writes it or bare."""
    if zipped:
        torch.save({"state": Malicious(evidence)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(evidence)))


def test_the_pickle_does_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    """The tests below would prove nothing otherwise."""
    for zipped in (True, False):
        plant(tmp_path / "file", tmp_path / f"evidence-{zipped}", zipped)
        if zipped:
            torch.load(tmp_path / "file", weights_only=False)
        else:
            pickle.loads((tmp_path / "file").read_bytes())  # noqa: S301
        assert (tmp_path / f"evidence-{zipped}").exists()


# Models.


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, quickstart) -> Path:
    folder = shutil.copytree(quickstart[1], tmp_path_factory.mktemp("model") / "model")
    load_model(fetch_model(str(folder), weights=False), TASK, soak_resume.TINY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_run_no_code(tmp_path: Path, model_dir: Path, name: str, zipped: bool) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    plant(folder / name, tmp_path / "evidence", zipped)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(fetch_model(str(folder)), TASK)
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize("model_type", ["bert", "something_new"])
def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, model_dir: Path, model_type: str) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model")
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'evidence')!r})\n")
    for file, auto_map in (
        ("config.json", {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["code.Tok", "code.Tok"]}),
    ):
        about = json.loads((folder / file).read_text())
        changes = {"auto_map": auto_map, "model_type": model_type} if file == "config.json" else {"auto_map": auto_map}
        (folder / file).write_text(json.dumps({**about, **changes}))
    files = fetch_model(str(folder))
    if model_type == "bert":  # transformers has a class of its own for it, and takes that
        load_tokenizer(files, 32)
        load_model(files, TASK)
    else:
        with pytest.raises(UserError, match=r"custom code|does not recognize|Transformers"):
            load_model(files, TASK)
    assert not (tmp_path / "evidence").exists()


# Checkpoints.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, quickstart):
    """A way to make a Trainer, and the checkpoint that one left."""
    folder = tmp_path_factory.mktemp("trained")
    rows = token_rows(small_corpus(folder), quickstart[1])

    def make(output: Path) -> Trainer:
        set_seed(7)
        options = {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        options |= {"load_best_model_at_end": False, "report_to": "none", "disable_tqdm": True}
        return Trainer(
            model=load_model(fetch_model(str(quickstart[1]), weights=False), TASK, soak_resume.TINY),
            task=TASK,
            args=TrainingArguments(output_dir=str(output), **options),
            train_dataset=rows["train"],
            data_collator=PaddingCollator(pad_token_id=0),
        )

    make(folder / "run").train()
    return make, folder / "run" / "checkpoint-2"


def reseal(folder: Path) -> None:
    """What an attacker would do as well: write a manifest that fits."""
    about = {name: value for name, value in read_manifest(folder).items() if name != "files"}
    write_manifest(folder, about)
    assert find_corruption(folder) == []


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_checkpoints_run_no_code(tmp_path: Path, trained, name: str, zipped: bool) -> None:
    make, checkpoint = trained
    folder = shutil.copytree(checkpoint, tmp_path / "run" / "checkpoint-2")
    plant(folder / name, tmp_path / "evidence", zipped)
    reseal(folder)
    with pytest.raises(UserError, match="checkpoint-2"):
        make(tmp_path / "run").train(resume_from_checkpoint=str(folder))
    assert not (tmp_path / "evidence").exists()


def test_training_arguments_are_never_unpickled(tmp_path: Path, trained) -> None:
    make, checkpoint = trained
    folder = shutil.copytree(checkpoint, tmp_path / "run" / "checkpoint-2")
    plant(folder / "training_args.bin", tmp_path / "evidence")
    plant(folder / "pytorch_model.bin", tmp_path / "evidence")  # next to the safetensors, which are taken
    reseal(folder)
    trainer = make(tmp_path / "run")
    trainer.train(resume_from_checkpoint=str(folder))
    assert trainer.state.global_step == 4
    assert not (tmp_path / "evidence").exists()


def test_a_manifest_cannot_point_elsewhere(tmp_path: Path, trained) -> None:
    folder = shutil.copytree(trained[1], tmp_path / "run" / "checkpoint-2")
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "optimizer.pt").read_bytes())
    (folder / "optimizer.pt").unlink()
    (folder / "optimizer.pt").symlink_to(secret)
    assert find_corruption(folder) == ["optimizer.pt is outside of the folder"]


# Names that come from elsewhere.


@pytest.mark.parametrize(
    "name", ["../model", "..", "a/..", "../..", "a/../../b", "~nobody/x", "/nowhere/at/all", "a\\..\\b"]
)
def test_model_names_stay_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError):
        fetch_model(name)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("revision", ["../../evil", "/evil", "a/../../b"])
def test_revisions_are_no_paths(revision: str) -> None:
    with pytest.raises(UserError, match="is a path; expected a branch"):
        fetch_model("beomi/kcbert-base", revision)


@pytest.mark.slow
@pytest.mark.parametrize("evil", ["../../../evil.json", "a/../../../../evil.json"])
def test_a_hub_cannot_write_outside_its_cache(tmp_path: Path, model_dir: Path, evil: str) -> None:
    """A double of the Hub lists a file whose name is outside of the folder."""
    files = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    code = "from pipeline.modeling.files import fetch_model; print(fetch_model('me/model').folder)"
    with Hub() as hub:
        hub.add("me/model", {**files, evil: b"{}"})
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "deep" / "er" / "home")}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
    assert "evil" not in {path.stem for path in tmp_path.rglob("*") if "snapshots" not in path.parts}
    assert result.returncode != 0
    assert "cannot be used" in result.stderr


# Caches that others may have planted.


def features_of(cache: Path, quickstart, root: Path):
    tokenizer = load_tokenizer(fetch_model(str(quickstart[1]), weights=False), 32)
    return load_features(OWN, OWN.fetch(root, cache), tokenizer, 32, cache_dir=cache)


def test_a_cache_holds_data_only_and_no_one_else_can_write_in_it(tmp_path: Path, quickstart) -> None:
    before = os.umask(0o002)  # what many systems have, with a group for each user
    try:
        folder = features_of(tmp_path / "cache", quickstart, small_corpus(tmp_path)).folder
    finally:
        os.umask(before)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".arrow", ".json"}
    assert not [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o022]
    assert trusted_folder(folder) == folder


@pytest.mark.parametrize("how", ["world-writable file", "group-writable folder", "link", "owner"])
def test_a_cache_that_others_can_write_is_not_trusted(
    tmp_path: Path, quickstart, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    root = small_corpus(tmp_path)
    features = features_of(tmp_path / "cache", quickstart, root)
    folder = features.folder
    planted = folder / "train" / "state.json"
    if how == "world-writable file":
        planted.chmod(0o666)
    elif how == "group-writable folder":
        folder.chmod(0o775)
    elif how == "link":
        shutil.move(planted, tmp_path / "elsewhere")
        planted.symlink_to(tmp_path / "elsewhere")
    elif os.getuid():
        pytest.skip("only root can give a folder to another user")
    else:
        os.chown(planted, 65534, 65534)
    with caplog.at_level("WARNING", "pipeline"):
        monkeypatch.setattr("pipeline.runtime.build_once.logger.propagate", True)
        again = features_of(tmp_path / "cache", quickstart, root)
    place = again.folder
    assert place == folder.with_name(f"{folder.name}-uid{os.getuid()}")
    assert f"Not trusting {folder}" in caplog.text
    assert again.splits["train"][:] == features.splits["train"][:]
    assert features_of(tmp_path / "cache", quickstart, root).folder == place  # found again, not built again
    place.chmod(0o777)
    with pytest.raises(UserError, match="--cache_dir"):
        features_of(tmp_path / "cache", quickstart, root)
