"""What a run left -> its model card, and the corpus -> its dataset card. Korean first: it is the users' language."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from pipeline.errors import UserError

NSMC_ON_THE_HUB = "e9t/nsmc"
SHOWN_SETTINGS = {
    "data": ("corpus_name", "max_seq_length", "validation_fraction", "validation_seed", "batching"),
    "model": ("model_name_or_path", "model_revision", "from_scratch", "config_overrides"),
    "training": (
        *("total_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate"),
        *("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "lr_scheduler_type", "gamma"),
        *("warmup_steps", "num_train_epochs", "max_steps", "label_smoothing_factor", "seed", "full_determinism"),
    ),
}


def model_card(model_dir: Path, name: str) -> ModelCard:
    """Write the card of a finished run.

    Args:
        model_dir: what scripts/train.py left: `results.json` and `run.json` are read.
        name: what the model is called: its name on the Hub, or its folder.

    Raises:
        UserError: the folder holds no finished run.
    """
    results, run = _read(model_dir / "results.json"), read_run(model_dir)
    official = run["corpus"]["official_nsmc"]
    corpus = "NSMC" if official else run["arguments"]["data"]["corpus_name"]
    kind = _OFFICIAL if official else _OTHER
    base = run["arguments"]["model"]["model_name_or_path"]
    on_hub = run["model"]["commit"] is not None
    data = ModelCardData(
        language="ko",
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base if on_hub else None,
        datasets=[NSMC_ON_THE_HUB] if official else None,
        metrics=["accuracy", "f1"],
        tags=["korean", "sentiment-analysis", "nsmc-pipeline"],
        model_name=name.rsplit("/", 1)[-1],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=NSMC_ON_THE_HUB if official else "other",
                dataset_name=corpus if official else f"{corpus} (not the official NSMC)",
                dataset_split="test",
                metric_type=metric,
                metric_name=shown,
                metric_value=results["test"][key],
            )
            for metric, shown, key in (("accuracy", "Accuracy", "accuracy"), ("f1", "Macro F1", "f1_macro"))
        ],
    )
    body = _MODEL_TEXT.format(
        name=name,
        base=f"[{base}](https://huggingface.co/{base})" if on_hub else Path(base).name,
        commit=f" (`{run['model']['commit'][:12]}`)" if on_hub else "",
        how_ko="파인튜닝했습니다" if run["model"]["pretrained"] else "사전 학습 가중치 없이 처음부터 학습했습니다",
        how_en="fine-tuned" if run["model"]["pretrained"] else "trained from random weights",
        corpus=corpus,
        corpus_ko=corpus + kind["corpus_ko"],
        corpus_en=corpus + kind["corpus_en"],
        hashes="\n".join(f"| {split} | `{digest}` |" for split, digest in run["corpus"]["sha256"].items()),
        licence_ko=kind["licence_ko"],
        licence_en=kind["licence_en"],
        metrics=_metrics_table(results),
        protocol_ko=_PROTOCOL[results["checkpoint_chosen_on"]][0],
        protocol_en=_PROTOCOL[results["checkpoint_chosen_on"]][1],
        settings=_settings_table(run),
        longest=run["arguments"]["data"]["max_seq_length"],
        labels_ko=kind["labels_ko"],
        labels_en=kind["labels_en"],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def dataset_card(corpus: dict[str, Any], rows: dict[str, int], name: str) -> DatasetCard:
    """Write the card of the text dataset that a run was trained on.

    Args:
        corpus: `sha256` of each split's file and whether they are `official_nsmc`, as in `run.json`.
        rows: the number of reviews of each split.
        name: the dataset's name on the Hub.
    """
    official = corpus["official_nsmc"]
    data = DatasetCardData(
        language="ko",
        license="cc0-1.0" if official else None,
        task_categories=["text-classification"],
        source_datasets=["original"],
        pretty_name="NSMC" if official else name,
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}.parquet"} for split in rows],
            }
        ],
    )
    body = _DATASET_TEXT.format(
        name=name,
        what_ko="네이버 영화 리뷰 말뭉치(NSMC)" if official else "NSMC 형식의 리뷰 말뭉치(공식 NSMC가 아님)",
        what_en="The Naver sentiment movie corpus (NSMC)"
        if official
        else "Reviews in NSMC's layout (not the official NSMC)",
        labels_ko=" 레이블은 별점(1~4점, 9~10점)에서 왔으므로 글과 맞지 않는 것이 섞여 있습니다." if official else "",
        labels_en=" They come from star ratings (1-4 and 9-10), so some contradict the text." if official else "",
        rows="\n".join(f"| {split} | {count:,} | `{corpus['sha256'][split]}` |" for split, count in rows.items()),
        source="\nSource: https://github.com/e9t/nsmc. License: CC0 1.0.\n" if official else "",
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def read_run(model_dir: Path) -> dict[str, Any]:
    """What made the run: its arguments, corpus, features, model and environment.

    Raises:
        UserError: the folder holds no finished run.
    """
    return _read(model_dir / "run.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path.parent} holds no finished run: {path.name} is missing. Expected a folder that scripts/train.py "
            "left; to finish an interrupted run, start it again with --resume_from_checkpoint auto."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _metrics_table(results: dict[str, Any]) -> str:
    lines = ["| | accuracy | 95 % | macro F1 | loss | reviews |", "|---|---|---|---|---|---|"]
    for split in ("validation", "test"):
        if numbers := results.get(split):
            low, high = numbers["accuracy_interval"]
            lines.append(
                f"| {split} | {numbers['accuracy']:.4f} | {low:.4f}-{high:.4f} | {numbers['f1_macro']:.4f} | "
                f"{numbers['loss']:.4f} | {numbers['reviews']:,} |"
            )
    lines += ["", "| test | precision | recall | F1 | reviews |", "|---|---|---|---|---|"]
    lines += [
        f"| {label} | {of['precision']:.4f} | {of['recall']:.4f} | {of['f1']:.4f} | {of['reviews']:,} |"
        for label, of in results["test"]["per_class"].items()
    ]
    return "\n".join(lines)


def _settings_table(run: dict[str, Any]) -> str:
    shown = {
        name: Path(value).name if name == "model_name_or_path" and run["model"]["commit"] is None else value
        for group, names in SHOWN_SETTINGS.items()
        for name in names
        if (value := run["arguments"][group].get(name)) is not None
    }
    shown |= {name: run["environment"][name] for name in ("processes", "mixed_precision", "device", "python")}
    shown |= run["environment"]["packages"]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown.items())])


_PROTOCOL = {
    "validation": (
        "체크포인트는 학습 데이터에서 따로 떼어 둔 검증 세트로 골랐고, 테스트 세트는 마지막에 한 번만 사용했습니다.",
        "The checkpoint was chosen on held-out training reviews; the test set was scored once, at the end.",
    ),
    "test": (
        "체크포인트를 테스트 세트로 골랐으므로(책의 방식), 테스트 점수는 실제 성능보다 높게 나왔을 수 있습니다.",
        "The checkpoint was chosen on the test set, as the book does, so the test score is not an honest estimate.",
    ),
}
# What is known of the corpus. Of one that is not NSMC nothing is, and nothing is claimed.
_OFFICIAL = {
    "corpus_ko": "",
    "corpus_en": "",
    "licence_ko": "NSMC의 라이선스는 CC0 1.0입니다.",
    "licence_en": "NSMC is CC0 1.0.",
    "labels_ko": (
        "- 레이블은 사람이 글을 읽고 붙인 것이 아니라 별점(1~4점은 부정, 9~10점은 긍정)에서 왔으므로, 글과 맞지 않는\n"
        "  것이 섞여 있습니다.\n"
        "- 테스트 리뷰 1,571건(3.14 %)은 똑같은 문장이 학습 데이터에도 있습니다.\n"
        "- 중립적인 리뷰는 학습하지 않았으며, 그런 글도 둘 중 하나로 분류합니다. 영화 리뷰가 아닌 글에서는 성능이\n"
        "  다를 수 있습니다.\n"
    ),
    "labels_en": (
        "- Labels come from star ratings (1-4 and 9-10), not from reading the text, so some contradict it.\n"
        "- 1,571 test reviews (3.14 %) have a text that also stands in the training data.\n"
        "- Neutral reviews were never seen and get one of the two labels all the same; other kinds of text\n"
        "  may fare otherwise.\n"
    ),
}
_OTHER = {
    "corpus_ko": "(공식 NSMC가 아님)",
    "corpus_en": " (not the official NSMC)",
    "licence_ko": "공식 NSMC가 아니며, 라이선스는 알려져 있지 않습니다.",
    "licence_en": "It is not the official NSMC; its licence is not known.",
    "labels_ko": (
        "- 레이블이 글과 맞는지, 학습 데이터와 테스트 데이터에 같은 글이 있는지는 확인하지 않았습니다.\n"
        "- 어떤 글이든 둘 중 하나로 분류합니다. 학습한 것과 다른 종류의 글에서는 성능이 다를 수 있습니다.\n"
    ),
    "labels_en": (
        "- Whether labels fit their texts, and whether train and test share any, was not looked at.\n"
        "- Any text gets one of the two labels; other kinds of text may fare otherwise.\n"
    ),
}
_MODEL_TEXT = """\
# {name}

한국어 리뷰를 **부정**과 **긍정**으로 분류하는 모델입니다. {base}{commit} 모델을
{corpus_ko} 데이터로 {how_ko}.

*A classifier of Korean reviews: 부정 (negative) or 긍정 (positive). {base}{commit}, {how_en} on {corpus_en}.*

## 사용법 · Usage

```python
from transformers import pipeline
classify = pipeline("text-classification", model="{name}", truncation=True)
print(classify("배우들 연기가 정말 좋았어요"))
```

## 성능 · Results

{metrics}

{protocol_ko}

*{protocol_en}*

## 데이터 · Data

{corpus}: {licence_ko} *{licence_en}*

| file | sha256 |
|---|---|
{hashes}

## 한계 · Limits

{labels_ko}- {longest} 토큰을 넘는 글은 뒷부분을 읽지 않습니다.

English:

{labels_en}- What is beyond {longest} tokens is not read.

## 설정 · Settings

{settings}
"""
_DATASET_TEXT = """\
# {name}

{what_ko}입니다. `text`는 리뷰 작성자가 쓴 그대로이며(원본 파일에서 따옴표를 감싼 CSV 두 겹을 풀었습니다),
`label`은 0이 부정, 1이 긍정입니다.{labels_ko}

*{what_en}. `text` is what the reviewer wrote (the two CSV layers around quoted reviews are undone); `label` is 0 부정
(negative) or 1 긍정 (positive).{labels_en}*

```python
from datasets import load_dataset
reviews = load_dataset("{name}")
```

| split | reviews | sha256 of the source file |
|---|---|---|
{rows}
{source}"""
