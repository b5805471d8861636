"""Bad corpora, models, checkpoints and options: each is named, nothing is lost, and no traceback is shown."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import OWN, TASK, run, soak_resume
from support.soak_resume import small_corpus, train_command

from pipeline.config.parser import parse_arguments
from pipeline.data.corpora import get_corpus
from pipeline.data.corpora.nsmc_layout import MAX_LINE_BYTES
from pipeline.data.corpus import CorpusFiles
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.runtime.errors import UserError

HEADER = b"id\tdocument\tlabel\n"
WELL_FORMED = HEADER + "1\t재밌다\t1\n2\t별로다, 정말\t0\n3\t\t1\n".encode()


def fetch(root: Path) -> CorpusFiles:
    return OWN.fetch(root, root, download=False)


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, by content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Corpora.


def corpus_of(folder: Path, train: bytes) -> Path:
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "ratings_train.txt").write_bytes(train)
    (folder / "nsmc" / "ratings_test.txt").write_bytes(WELL_FORMED)
    return folder


def line(text: str, encoding: str = "utf-8") -> bytes:
    return WELL_FORMED + text.encode(encoding) + b"\n"


CORPORA = {
    "empty": (b"", 1, "before the first example"),
    "header only": (HEADER, 2, "before the first example"),
    "header without its line end": (HEADER[:-1], 2, "before the first example"),
    "no header": (WELL_FORMED.removeprefix(HEADER), 1, "expected the header"),
    "header twice": (HEADER + WELL_FORMED, 2, "label 'label'"),
    "other columns": (WELL_FORMED.replace(HEADER, b"id\tlabel\tdocument\n"), 1, "expected the header"),
    "capital letters": (WELL_FORMED.replace(HEADER, b"ID\tDocument\tLabel\n"), 1, "expected the header"),
    "commas": (WELL_FORMED.replace(b"\t", b","), 1, "expected the header"),
    "a column more in the header": (WELL_FORMED.replace(HEADER, HEADER[:-1] + b"\tx\n"), 1, "expected the header"),
    "a column less": (line("4\t글"), 5, "2 column"),
    "a column more": (line("4\t글\t1\t1"), 5, "4 column"),
    "a tab in a review": (line("4\t글\t글\t1"), 5, "4 column"),
    "an empty line": (line(""), 5, "1 column"),
    "blanks for tabs": (line("4 글 1"), 5, "1 column"),
    "label 2": (line("4\t글\t2"), 5, "label '2'"),
    "label -1": (line("4\t글\t-1"), 5, "label '-1'"),
    "label 1.0": (line("4\t글\t1.0"), 5, "label '1.0'"),
    "label with a blank": (line("4\t글\t1 "), 5, "label '1 '"),
    "no label": (line("4\t글\t"), 5, "label ''"),
    "label in words": (line("4\t글\t긍정"), 5, "label '긍정'"),
    "label in quotes": (line('4\t글\t"1"'), 5, "label '\"1\"'"),
    "label in wide digits": (line("4\t글\t１"), 5, "label '１'"),
    "CP949": (WELL_FORMED.decode().encode("cp949"), 2, "not UTF-8"),
    "CP949 in one line": (line("4\t글\t1", "cp949"), 5, "not UTF-8"),
    "Latin-1": (line("4\tcafé\t1", "latin-1"), 5, "not UTF-8"),
    "surrogates": (WELL_FORMED + b"4\t\xed\xa0\x80\t1\n", 5, "not UTF-8"),
    "UTF-16": (WELL_FORMED.decode().encode("utf-16"), 1, "expected the header"),
    "UTF-16 without a mark": (WELL_FORMED.decode().encode("utf-16-le"), 1, "expected the header"),
    "UTF-32": (WELL_FORMED.decode().encode("utf-32"), 1, "expected the header"),
    "byte order mark": (b"\xef\xbb\xbf" + WELL_FORMED, 1, "byte order mark"),
    "a lone carriage return in a review": (line("4\t앞\r뒤\t1"), 5, "carriage return"),
    "carriage returns for line ends": (WELL_FORMED.replace(b"\n", b"\r"), 1, "expected the header"),
    "two carriage returns": (WELL_FORMED + b"4\ta\t1\r\r\n", 5, "carriage return"),
    "NUL in a review": (line("4\t앞\0뒤\t1"), 5, "NUL"),
    "NUL in the header": (b"\0" + WELL_FORMED, 1, "expected the header"),
    "a hole, as a lost disk block leaves": (WELL_FORMED + b"\0" * 4096, 5, "NUL"),
    "a line of 10 MB": (line("4\t" + "가" * (10 << 20) + "\t1"), 5, f"more than {MAX_LINE_BYTES:,} bytes"),
    "10 MB without a line end": (b"x" * (10 << 20), 1, "more than"),
    "gzip": (b"\x1f\x8b\x08\x00" + WELL_FORMED, 1, "expected the header"),
    "a web page": (b"<!DOCTYPE html>\n<html>404</html>\n", 1, "expected the header"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 1, "expected the header"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_bad_corpora_name_file_line_and_reason(tmp_path: Path, name: str) -> None:
    content, number, reason = CORPORA[name]
    root = corpus_of(tmp_path, content)
    before = fingerprint(tmp_path)
    with pytest.raises(UserError) as error:
        OWN.fetch(root, tmp_path)
    assert str(error.value).startswith(f"{root / 'nsmc' / 'ratings_train.txt'}, line {number}: ")
    assert reason in str(error.value)
    assert len(str(error.value)) < 1000  # whatever the file holds
    assert fingerprint(tmp_path) == before


def test_a_corpus_cut_anywhere(tmp_path: Path) -> None:
    """At every byte: in a character, a line, before a label, after the header. Only complete rows pass, as they are."""
    root = corpus_of(tmp_path, WELL_FORMED)
    path = root / "nsmc" / "ratings_train.txt"
    rows = [("재밌다", 1), ("별로다, 정말", 0), ("", 1)]
    complete_at = {
        match.end() - end: count for count, match in enumerate(re.finditer(rb"\n", WELL_FORMED)) for end in (0, 1)
    }
    refused = 0
    for length in range(len(WELL_FORMED)):
        path.write_bytes(WELL_FORMED[:length])
        if complete_at.get(length, 0) > 0:
            data = OWN.read(fetch(root))["train"]
            assert list(zip(data["text"][:], data["label"][:], strict=True)) == rows[: complete_at[length]]
            with pytest.raises(UserError, match="not the official"):
                get_corpus("nsmc").fetch(root, tmp_path)
        else:
            with pytest.raises(UserError, match=r"ratings_train.txt, line \d+: "):
                OWN.fetch(root, tmp_path)
            refused += 1
    assert refused == len(WELL_FORMED) - 5


def test_line_ends_of_windows_are_read_as_they_are_meant(tmp_path: Path) -> None:
    root = corpus_of(tmp_path, WELL_FORMED.replace(b"\n", b"\r\n"))
    assert OWN.read(fetch(root))["train"]["text"][:] == ["재밌다", "별로다, 정말", ""]


@pytest.mark.parametrize("what", ["folder", "pipe", "broken link"])
def test_something_else_in_place_of_a_corpus_file(tmp_path: Path, what: str) -> None:
    root = corpus_of(tmp_path, WELL_FORMED)
    path = root / "nsmc" / "ratings_train.txt"
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "broken link": lambda: path.symlink_to("nowhere")}[what]()
    with pytest.raises(UserError, match=r"ratings_train.txt is (not a file|missing)"):
        OWN.fetch(root, tmp_path, download=False)


# Models.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


MODELS = [
    *[(name, "remove", Path.unlink) for name in ("config.json", "tokenizer.json", "model.safetensors")],
    *[(name, "cut", cut) for name in ("config.json", "tokenizer.json", "model.safetensors")],
    *[(name, "empty", write(b"")) for name in ("config.json", "tokenizer.json", "model.safetensors")],
    ("config.json", "no JSON", write(b"model_type: bert")),
    ("config.json", "a list", write(b"[]")),
    ("config.json", "an unknown model", write(b'{"model_type": "nothing"}')),
    ("config.json", "no model", write(b"{}")),
    ("tokenizer.json", "no tokenizer", write(b"{}")),
    ("model.safetensors", "a header past the end", write(b"\xff" * 64)),
    ("model.safetensors", "a web page", write(b"<!DOCTYPE html>" * 10)),
]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory, quickstart) -> Path:
    folder = shutil.copytree(quickstart[1], tmp_path_factory.mktemp("model") / "model")
    load_model(fetch_model(str(folder), weights=False), TASK, soak_resume.TINY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "how", "damage"), MODELS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_models_are_named(tmp_path: Path, small_model: Path, name: str, how: str, damage) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    damage(folder / name)

    def load() -> None:
        files = fetch_model(str(folder))
        load_tokenizer(files, 32)
        load_model(files, TASK)

    with pytest.raises(UserError, match=re.escape(str(folder))):
        load()


# Options.

STEPWISE = "--save_strategy steps --eval_strategy steps"
OUT_OF_RANGE = {
    "gamma": "0 -1 1.01 nan inf",
    "learning_rate": "0 -1 nan inf",
    "num_train_epochs": "0 -1 nan inf",
    "max_steps": "0 -2",
    "seed": "-2 4294967296 99999999999999999999",
    "data_seed": "-1 4294967296",
    "validation_seed": "-1 4294967296",
    "validation_fraction": "-0.1 0.51 nan inf",
    "max_length": "2 0 -1",
    "max_grad_norm": "-1 nan inf",
    "weight_decay": "-0.1 nan inf",
    "warmup_steps": "-1 nan inf",
    "label_smoothing_factor": "-0.1 1 nan",
    "adam_beta1": "-0.1 1 nan",
    "adam_beta2": "-0.1 1 nan",
    "adam_epsilon": "0 -1 nan",
    "logging_steps": "0 -1 nan",
    "save_steps": "0 -1 nan",
    "eval_steps": "0 -1 nan",
    "eval_delay": "-1 nan",
    "save_total_limit": "0 -1",
    "global_batch_size": "0 -1",
    "per_device_train_batch_size": "0 -1",
    "per_device_eval_batch_size": "0 -1",
    "gradient_accumulation_steps": "0 -1",
    "eval_accumulation_steps": "0 -1",
    "dataloader_num_workers": "-1",
    "dataloader_prefetch_factor": "0 -1",
    "neftune_noise_alpha": "0 nan",
    "ddp_timeout": "0 -1",
    "torch_empty_cache_steps": "0 -1",
}
WRONG_KIND = {
    **dict.fromkeys("max_steps seed global_batch_size save_total_limit max_length".split(), "many 1.5 1e3 0x10"),
    **dict.fromkeys("learning_rate gamma num_train_epochs validation_fraction weight_decay".split(), "much 1,5 5e"),
    **dict.fromkeys("fast_dev_run overwrite_cache from_scratch bf16 use_cpu".split(), "maybe 2"),
}
UNKNOWN_VALUE = {
    "corpus_name": "imdb",
    "batching": "wide",
    "optim": "adamm",
    "lr_scheduler_type": "expo",
    "save_strategy": "never",
    "eval_strategy": "never",
    "logging_strategy": "never",
    "train_sampling_strategy": "zigzag",
    "hub_strategy": "nope",
    "log_level": "shout",
    "debug": "x",
    "ddp_backend": "pigeons",
    "metric_for_best_model": "lose",
    "torch_compile_mode": "fast",
    "recipe": "qickstart / /dev/null",
    "fsdp": "nonsense",
    "accelerator_config": 'nowhere.json {"x":1}',
    "parallelism_config": 'x {"x":1}',
}
CASES = [
    (name, value)
    for table in (OUT_OF_RANGE, WRONG_KIND, UNKNOWN_VALUE)
    for name, values in table.items()
    for value in values.split()
]
TOGETHER = [
    ("--max_lenght 64", "Did you mean max_length?"),
    ("--save_strategy steps", "save and eval strategy"),
    (f"{STEPWISE} --eval_steps 4 --save_steps 6", "round multiple"),
    ("--config_overrides num_hidden_layers=2", "--from_scratch"),
    ("--gradient_accumulation_steps 5", "--per_device_train_batch_size"),
    ("--torch_compile_mode reduce-overhead --gradient_accumulation_steps 2", "CUDA graphs"),
    ("--dataloader_prefetch_factor 2", "dataloader_num_workers"),
    ("--optim_args betas=1", "--optim adam takes no such values"),
    ('--lr_scheduler_kwargs {"x":1}', "--lr_scheduler_type exponential takes no such values"),
    ("--save_only_model", "cannot be resumed bit for bit"),
    ("--enable_jit_checkpoint", "cannot be resumed bit for bit"),
    ("--hub_token hf_secret", "HF_TOKEN"),
    ("--lr_scheduler_type reduce_lr_on_plateau --eval_strategy no", "strategy"),
    ("stray", "stray"),
    ("--seed", "expected one argument"),
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_bad_values_name_their_option(name: str, value: str) -> None:
    words = STEPWISE.split() if name in ("save_steps", "eval_steps") else []
    with pytest.raises(UserError) as error:
        parse_arguments([*words, f"--{name}={value}"])
    text = str(error.value)
    assert re.search(rf"--{name}\b", text)
    assert re.search(rf"(?<![\w.]){re.escape(value)}(\.0)?(?![\w.]*\w)", text)  # a float is shown as one
    assert len(text) < 2000


@pytest.mark.parametrize(("flags", "expected"), TOGETHER)
def test_options_that_do_not_fit_are_named(flags: str, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        parse_arguments(flags.split())


@pytest.mark.parametrize("overrides", ["x", "num_hidden_layers", "num_hidden_layers=x", "no_such=1", "hidden_size=33"])
def test_bad_overrides_are_named(quickstart, overrides: str) -> None:
    with pytest.raises(UserError, match=re.escape(str(quickstart[1]))):
        load_model(fetch_model(str(quickstart[1]), weights=False), TASK, overrides)


# The real script: the same, with its exit code, and what was there before stays.

NARROWER = soak_resume.TINY.replace("=64", "=48")
SCRIPT = {
    "option": (["--gamma", "0"], None, "--gamma is 0.0"),
    "deepspeed": (["--deepspeed", "nowhere.json"], None, "deepspeed"),
    "unknown reporter": (["--report_to", "nonsense"], None, "--report_to is nonsense; expected none, all, or"),
    "optimizer that is not installed": (["--optim", "galore_adamw"], None, "--optim galore_adamw"),
    "arguments of the optimizer": (["--optim", "adamw_torch", "--optim_args", "x"], None, "--optim_args x"),
    "corpus": ([], "corpus", "ratings_train.txt, line 4: has 2 column"),
    "checkpoint by name": (["--resume_from_checkpoint", "run/checkpoint-4"], "optimizer", "optimizer.pt has"),
    "checkpoint that is nowhere": (["--resume_from_checkpoint", "run/checkpoint-5"], None, "there is no such folder"),
    "batch": (["--resume_from_checkpoint", "auto", "--global_batch_size", "16"], None, "32 in the checkpoint, now 16"),
    "epochs": (
        ["--resume_from_checkpoint", "auto", "--max_steps", "9"],
        None,
        "max_steps: 4 in the checkpoint, now 9",
    ),
    "seed": (["--resume_from_checkpoint", "auto", "--seed", "8"], None, "seed: 7 in the checkpoint, now 8"),
    "other corpus": (["--resume_from_checkpoint", "auto"], "other corpus", "train corpus (SHA-256): "),
    "other model": (
        ["--resume_from_checkpoint", "auto", "--config_overrides", soak_resume.TINY + ",hidden_act=relu"],
        None,
        'config.hidden_act: "gelu" in the checkpoint, now "relu"',
    ),
    "other shape, insisting": (
        [*"--resume_from_checkpoint auto --allow_changed_settings --config_overrides".split(), NARROWER],
        None,
        "does not fit this model",
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    command = train_command(small_corpus(folder), Path("run"), folder / "cache", "--max_steps", "4")
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=280)
    (folder / "run" / "results.json").unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPT)
def test_the_script_ends_with_2_and_loses_nothing(tmp_path: Path, finished: Path, name: str) -> None:
    flags, spoil, expected = SCRIPT[name]
    folder = shutil.copytree(finished, tmp_path / "here")
    train = folder / "corpus" / "nsmc" / "ratings_train.txt"
    if spoil == "corpus":
        train.write_text("".join(train.read_text().splitlines(keepends=True)[:3]) + "3\t잘린")
    elif spoil == "other corpus":
        train.write_text(train.read_text().replace("재밌다", "즐겁다"))
    elif spoil == "optimizer":
        cut(folder / "run" / "checkpoint-4" / "optimizer.pt")
    before = fingerprint(folder / "run") | fingerprint(folder / "corpus")
    log_before = (folder / "run" / "train.log").read_text()
    if "--resume_from_checkpoint" not in flags:
        flags = [*flags, "--output_dir", "elsewhere"]
    command = train_command(folder / "corpus", Path("run"), folder / "cache", "--max_steps", "4", *flags)
    result = run(*command[1:], cwd=folder, launcher=(sys.executable,))
    assert result.returncode == 2, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert expected in result.stderr
    assert result.stderr.count("error: ") == 1
    log = folder / "run" / "train.log"  # the refused try may be noted there, below what it held
    assert log.read_text().startswith(log_before)
    log.write_text(log_before)
    assert fingerprint(folder / "run") | fingerprint(folder / "corpus") == before
    assert not list((folder / "elsewhere").glob("checkpoint-*"))
