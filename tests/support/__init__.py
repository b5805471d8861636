"""What several tests use: paths, toys made on the spot, and the real scripts run small. No network anywhere."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Before anything of Hugging Face is imported: the libraries read these once.
SCRATCH = Path(tempfile.mkdtemp(prefix="pipeline-tests-"))
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=str(SCRATCH / "huggingface"),
    HF_DATASETS_CACHE=str(SCRATCH / "datasets"),
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # toys gain nothing by a second thread; threads that compete for cores take ten times longer
)
os.environ.pop("HF_TOKEN", None)

from pipeline.data.corpora import get_corpus  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONFIGS = ROOT / "accelerate_configs"
ACCELERATE = (str(Path(sys.executable).with_name("accelerate")), "launch")
# Of two processes that talk over gloo. `accelerate launch --cpu --num_processes 2` would start one.
TWO_PROCESSES = (*ACCELERATE, "--config_file", str(CONFIGS / "cpu.yaml"))
NO_DROPOUT = "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # processes that compete for cores take ten times longer
OWN = get_corpus("nsmc_layout")  # the toys are in NSMC's layout
TASK = OWN.task


def write_corpus(root: Path, train: list[tuple[str, object]], test: list[tuple[str, object]]) -> Path:
    """Write texts and labels in NSMC's layout."""
    (root / "nsmc").mkdir(parents=True)
    for name, rows in (("ratings_train.txt", train), ("ratings_test.txt", test)):
        lines = ["id\tdocument\tlabel", *(f"{number}\t{text}\t{label}" for number, (text, label) in enumerate(rows))]
        (root / "nsmc" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def toy_reviews(count: int) -> list[tuple[str, object]]:
    """Texts of seven lengths, whose words tell their labels."""
    words = ("재밌다 최고다 감동이다".split(), "별로다 지루하다 아깝다".split())
    return [(f"{'영화가 ' * (i % 7)}{words[i % 2][i % 3]} {i}", (i + 1) % 2) for i in range(count)]


def read_corpus(root: Path):
    """The DatasetDict of a corpus in NSMC's layout."""
    return OWN.read(OWN.fetch(root, root))


def token_rows(corpus: Path, model: Path) -> dict:
    """`input_ids`, at most 32 tokens, and `label` of each split of a corpus, by the tokenizer of a model's folder."""
    from transformers import AutoTokenizer

    from pipeline.data.tokenization import tokenize

    tokenizer = AutoTokenizer.from_pretrained(model)
    features = {split: next(tokenize([rows], tokenizer, 32)) for split, rows in read_corpus(corpus).items()}
    return {split: rows.select_columns(["input_ids", "label"]) for split, rows in features.items()}


def small_classifier(kind: str, **changes: object):
    """A classifier of random weights and no dropout, such as Bert, XLMRoberta, DistilBert or ModernBert."""
    import transformers

    own = {
        "Electra": {"embedding_size": 16},
        "DistilBert": {"hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
        "ModernBert": dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2),
        "GPT2": {"n_inner": 64, **dict.fromkeys(("bos_token_id", "eos_token_id"), 2)},
    }
    config = getattr(transformers, f"{kind}Config")(
        **{
            **{"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
            **{"intermediate_size": 64, "max_position_embeddings": 48, "pad_token_id": 1, "initializer_range": 0.3},
            **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
            **own.get(kind, {}),
            **changes,
        }
    )
    return getattr(transformers, f"{kind}ForSequenceClassification")(config)


def run(*words: str, cwd: Path, launcher: tuple[str, ...] = (), timeout: float = 280, **env: str):
    """Run a script of this project as a user would, with nothing of this process's state but its environment."""
    command = [*launcher, str(ROOT / "scripts" / words[0]), *words[1:]]
    if not launcher:
        command.insert(0, sys.executable)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    return subprocess.run(
        command, cwd=cwd, env={**environment, **env}, capture_output=True, text=True, timeout=timeout, check=False
    )


def train_small(cwd: Path, launcher: tuple[str, ...], corpus: Path, output: str, *flags: str) -> list[dict]:
    """Run scripts/train.py on a toy with the quickstart's model and return what it logged, step by step."""
    result = run(*small_training(corpus, output), *flags, cwd=cwd, launcher=launcher, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    return logged_steps(cwd / output)


def small_training(corpus: Path, output: str) -> list[str]:
    """The command line that trains the quickstart's model, without dropout, on a toy."""
    return [
        *("train.py", "--recipe", "quickstart", "--corpus_name", "nsmc_layout", "--corpus_root_dir", str(corpus)),
        *("--config_overrides", NO_DROPOUT, "--output_dir", output, "--logging_steps", "1"),
        *("--validation_fraction", "0.1", "--no_report"),
    ]


def logged_steps(output: Path) -> list[dict]:
    """What a run logged after each update."""
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in log if "loss" in entry]
