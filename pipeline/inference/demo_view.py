"""What the demo's page says and shows, in Korean, by the kind of task and the texts that it reads. HTML, no Gradio."""

import math
import re
from collections.abc import Sequence
from html import escape

from pipeline.data.tokenization import Text
from pipeline.inference.classifier import Classifier, Prediction
from pipeline.inference.explain import Spans, Word, read_spans, word_effects

EXAMPLES = (
    ("오늘은 비가 와서 하루 종일 집에서 쉬었다",),
    ("새로 생긴 가게에 가 봤는데 직원이 정말 친절하고 물건도 좋았어요!",),
    ("내일 회의가 몇 시에 시작하는지 알려 주세요",),
)
EXAMPLES_OF_PAIRS = (
    ("비가 와서 우산을 챙겼다", "우산을 가지고 나갔다"),
    ("내일 회의는 몇 시에 시작하나요?", "회의 시작 시간을 알려 주세요"),
    ("아이들이 공원에서 공을 차고 있다", "아이들이 방에서 자고 있다"),
)
MAX_CLASSES = 10  # shown, besides those that were chosen
CSS = """
.gradio-container {
  width: 100%; max-width: 860px !important; /* without width a table widens the page past a phone's edge */
  margin: 0 auto !important; word-break: keep-all; overflow-wrap: anywhere;
}
.result { font-size: 1.6em; font-weight: 600; text-align: center; margin: 8px 0 !important; }
.score {
  display: grid; grid-template-columns: minmax(7em, 30%) 1fr 3.8em; gap: 8px; align-items: center; margin: 6px 0;
}
.score .number { text-align: right; font-variant-numeric: tabular-nums; }
.chosen { font-weight: 600; }
.bar { position: relative; height: 12px; border-radius: 6px; background: rgb(128 128 128 / 22%); }
.bar .filled { position: absolute; inset: 0 auto 0 0; border-radius: 6px; background: rgb(37 99 235 / 45%); }
.chosen .filled { background: rgb(37 99 235); }
.bar .threshold { position: absolute; top: -3px; bottom: -3px; width: 2px; background: currentColor; opacity: 0.6; }
.bar .point {
  position: absolute; top: -4px; width: 20px; height: 20px; margin-left: -10px; border-radius: 50%;
  background: rgb(37 99 235);
}
.range { margin: 14px 10px 4px !important; }
.ends { display: flex; justify-content: space-between; margin: 8px 0 !important; }
.words { font-size: 1.15em; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
.words ruby {
  display: inline-flex; flex-direction: column-reverse; align-items: center; baseline-source: last;
  max-width: 100%; margin-bottom: 6px !important; padding: 2px 4px; border-radius: 4px;
}
.words rt { font-size: 0.65em; line-height: 1.2; }
.unread { opacity: 0.5; text-decoration: line-through; }
.notice { padding: 8px 12px; border-left: 4px solid #d97706; background: rgb(217 119 6 / 12%); }
.hint { font-size: 0.9em; opacity: 0.8; }
"""
FOR, AGAINST = "37 99 235", "220 38 38"  # blue and red: readers who confuse red and green can tell them apart
MIN_FULL_COLOR = 0.05  # smaller effects are never shown in full color, even if they are the largest of a text
SEPARATOR = re.compile(r"\s*(?:\t|\|\|)\s*")  # of a pair in a line
# By --long_text: what is read of a long text, and what is not.
READ = {"head": "앞부분", "head_tail": "앞부분과 끝부분"}
NOT_READ = {"head": "뒷부분이", "head_tail": "가운데가"}


class DemoView:
    """The page's texts, and HTML of what a model answers.

    Args:
        classifier: the model.
        label_range: of a regression, the smallest and the largest number of the test data, if they are known.
    """

    def __init__(self, classifier: Classifier, label_range: tuple[float, float] | None = None) -> None:
        self.classifier, self.task, self.label_range = classifier, classifier.task, label_range
        self.is_regression = self.task.problem_type == "regression"
        self.is_multi_label = self.task.problem_type == "multi_label_classification"
        self.reads_pairs = len(self.task.text_columns) == 2
        self.long_text = classifier.encoder.long_text
        self.examples = EXAMPLES_OF_PAIRS if self.reads_pairs else EXAMPLES

    # The page.

    @property
    def title(self) -> str:
        return "한국어 텍스트 값 예측" if self.is_regression else "한국어 텍스트 분류"

    @property
    def verb(self) -> str:
        return "예측하기" if self.is_regression else "분류하기"

    @property
    def introduction(self) -> str:
        """HTML: what the page is for."""
        answer = "어떤 레이블로 분류되는지"
        if self.is_regression:
            answer = f"‘{escape(self.task.class_names[0])}’ 값이 얼마로 예측되는지"
        elif self.is_multi_label:
            answer = "어떤 레이블들이 붙는지"
        given = "두 글을" if self.reads_pairs else "글을"
        return f"{given} 입력하면 {answer}, 어떤 단어가 영향을 주었는지 보여 드립니다."

    @property
    def reads(self) -> str:
        """How much the model reads."""
        limit = f"{self.classifier.max_length:,}토큰"
        if self.long_text == "windows":
            return f"긴 글은 {limit}씩 겹치게 나누어 끝까지 읽습니다."
        given = "두 글을 합해" if self.reads_pairs else "글마다"
        where = "앞에서부터" if self.long_text == "head" else f"{READ[self.long_text]}을"
        return f"{given} {where} {limit}까지 읽습니다."

    @property
    def labels(self) -> list[str]:
        """Of the text boxes."""
        if not self.reads_pairs:
            return ["글"]
        return [f"글 {number} ({column})" for number, column in enumerate(self.task.text_columns, start=1)]

    @property
    def lines_label(self) -> str:
        """Of the text box of many texts."""
        return "두 글을 탭이나 ||로 나누어 한 줄에 한 쌍씩" if self.reads_pairs else "글 (한 줄에 하나씩)"

    @property
    def columns(self) -> dict[str, str]:
        """Of the table of many texts, with their widths."""
        if self.reads_pairs:  # no column of its own for the probability: a phone is narrow
            return {"글 1": "29%", "글 2": "29%", "값" if self.is_regression else "레이블": "26%", "잘림": "16%"}
        if self.is_regression:
            return {"글": "60%", "값": "20%", "잘림": "20%"}
        if self.is_multi_label:
            return {"글": "50%", "레이블": "32%", "잘림": "18%"}
        return {"글": "42%", "레이블": "22%", "확률": "18%", "잘림": "18%"}

    # Many texts.

    def parse_lines(self, lines: str) -> list[Text]:
        """The texts or pairs in a text box.

        Raises:
            ValueError: there are none, or a line is no pair; with what to do, in Korean.
        """
        found = [line.strip() for line in lines.splitlines() if line.strip()]
        if not found:
            each = "한 줄에 한 쌍씩" if self.reads_pairs else "한 줄에 하나씩"
            raise ValueError(f"글을 {each} 입력해 주세요.")
        if not self.reads_pairs:
            return list(found)
        pairs = [tuple(SEPARATOR.split(line)) for line in found]
        for number, pair in enumerate(pairs, start=1):
            if len(pair) != 2 or not all(pair):
                raise ValueError(f"{number}번째 줄: 두 글 사이를 탭이나 ||로 한 번 나누어 주세요.")
        return [(first, second) for first, second in pairs]

    def row(self, text: Text, prediction: Prediction) -> list[str]:
        """A row of the table, as `columns` has them."""
        if self.is_regression:
            answers = [self._format(next(iter(prediction.probabilities.values())))]
        elif self.is_multi_label:
            chosen = self._chosen(prediction)
            answers = [", ".join(f"{name} {prediction.probabilities[name]:.0%}" for name in chosen) or "없음"]
        else:
            answers = [prediction.label, f"{prediction.probability:.1%}"]
            answers = [" ".join(answers)] if self.reads_pairs else answers
        cut = f"네 ({prediction.num_tokens:,}토큰 중 {self.classifier.max_length:,})"
        return [*_texts(text), *answers, cut if prediction.truncated else "아니요"]

    def summary(self, predictions: Sequence[Prediction]) -> str:
        """A line above the table."""
        count, which = ("쌍을", "쌍은") if self.reads_pairs else ("개를", "글은")
        done = f"글 {len(predictions):,}{count} {'예측' if self.is_regression else '분류'}했습니다."
        if self.long_text == "windows":
            return done
        num_cut = sum(prediction.truncated for prediction in predictions)
        return f"{done} 길어서 {NOT_READ[self.long_text]} 잘린 {which} {num_cut:,}개입니다."

    # One text.

    def result(self, prediction: Prediction) -> str:
        """HTML: what was decided, and how sure that is."""
        if self.is_regression:
            return self._number(*prediction.probabilities.values())
        chosen = self._chosen(prediction)
        ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        shown = [item for rank, item in enumerate(ranked) if rank < MAX_CLASSES or item[0] in chosen]
        hints = ["세로선은 레이블을 붙이는 기준입니다."] if self.is_multi_label else []
        if more := len(ranked) - len(shown):
            hints.append(f"확률이 더 낮은 레이블 {more:,}개는 생략했습니다.")
        heading = ", ".join(map(escape, chosen)) or "해당하는 레이블이 없습니다"
        rows = "".join(self._bar(name, probability, name in chosen) for name, probability in shown)
        return f'<p class="result">{heading}</p>{rows}{hint(" ".join(hints)) if hints else ""}'

    def _chosen(self, prediction: Prediction) -> list[str]:
        """The labels that were decided on, the most probable first."""
        if not self.is_multi_label:
            return [prediction.label]
        probabilities = prediction.probabilities
        names = [name for name, threshold in self._thresholds.items() if probabilities[name] >= threshold]
        return sorted(names, key=lambda name: -probabilities[name])

    @property
    def _thresholds(self) -> dict[str, float]:
        thresholds = self.task.describe().get("thresholds") or [0.5] * self.task.num_labels
        return dict(zip(self.task.class_names, thresholds, strict=True))

    def _bar(self, name: str, probability: float, chosen: bool) -> str:
        threshold = tick = ""
        if self.is_multi_label:
            threshold = f'<span class="threshold" style="left: {self._thresholds[name]:.1%}"></span>'
            tick = "✓ " if chosen else ""
        return (
            f'<div class="score{" chosen" if chosen else ""}"><span>{tick}{escape(name)}</span>'
            f'<span class="bar"><span class="filled" style="width: {probability:.1%}"></span>{threshold}</span>'
            f'<span class="number">{probability:.1%}</span></div>'
        )

    def _number(self, value: float) -> str:
        heading = f'<p class="result">{self._format(value)}</p>'
        if self.label_range is None:
            return heading
        low, high = self.label_range
        position = min(max((value - low) / (high - low), 0), 1) if high > low else 0.5
        beyond = "" if low <= value <= high else " 예측한 값이 이 범위를 벗어났습니다."
        return (
            f'{heading}<div class="range"><div class="bar">'
            f'<span class="point" style="left: {position:.1%}"></span></div>'
            f'<p class="ends"><span>{self._format(low)}</span><span>{self._format(high)}</span></p></div>'
            f"{hint(f'막대는 테스트 데이터에 있는 값의 범위입니다.{beyond}')}"
        )

    def _format(self, value: float, sign: str = "") -> str:
        """A number with three digits of its range."""
        low, high = self.label_range or (0, 1)
        decimals = max(0, 2 - math.floor(math.log10(high - low))) if high > low else 2
        return f"{round(value, decimals) + 0:{sign}.{decimals}f}".replace("-", "−")  # + 0 turns -0.0 into 0.0

    def explanation(self, text: Text, prediction: Prediction) -> str:
        """HTML: a notice if the text was truncated, and the text with the effect of each word."""
        parts = []
        if prediction.truncated:
            parts.append(
                notice(
                    f"글이 길어서 {READ[self.long_text]}만 읽었습니다. 전체 {prediction.num_tokens:,}토큰 가운데 "
                    f"{self.classifier.max_length:,}토큰만 모델에 들어갔습니다. 아래에서 취소선을 그은 부분은 쓰이지 "
                    "않았습니다."
                )
            )
        parts.append("<h3>단어별 영향</h3>")
        words, spans = word_effects(self.classifier, text), read_spans(self.classifier, text)
        full_color = max([self._smallest_full_color, *(abs(word.effect) for word in words)])
        for number, (label, each, read) in enumerate(zip(self.labels, _texts(text), spans, strict=True)):
            own = [word for word in words if word.text == number]
            parts.append(hint(escape(label)) if self.reads_pairs else "")
            parts.append(f'<div class="words">{self._mark_words(each, own, read, full_color)}</div>')
        return "".join([*parts, hint(self._meaning(prediction))])

    @property
    def _smallest_full_color(self) -> float:
        low, high = self.label_range or (0, 1)
        return MIN_FULL_COLOR * ((high - low) or 1) if self.is_regression else MIN_FULL_COLOR

    def _meaning(self, prediction: Prediction) -> str:
        """HTML: what the numbers above the words are."""
        if self.is_regression:
            what = f"‘{escape(self.task.class_names[0])}’ 값이 얼마나"
            colors = "파란 단어(+)는 값을 높이고, 붉은 단어(−)는 낮춥니다."
        else:
            label, probability = max(prediction.probabilities.items(), key=lambda item: item[1])
            which = "확률이 가장 높은 " if self.is_multi_label else ""
            what = f"{which}‘{escape(label)}’의 확률({probability:.1%})이 몇 %p"
            other = "그 반대입니다" if self.is_multi_label else "다른 결과 쪽으로 이끕니다"
            colors = f"파란 단어(+)는 이 결과를 뒷받침하고, 붉은 단어(−)는 {other}."
        return (
            f"숫자는 그 단어 하나를 뺐을 때 {what} 낮아지는지를 나타냅니다. {colors} "
            "비슷한 뜻의 단어가 여럿이면 하나를 빼도 거의 바뀌지 않을 수 있습니다."
        )

    def _mark_words(self, text: str, words: list[Word], read: Spans, full_color: float) -> str:
        """HTML: each word in its color with its effect above it; what was not read is struck through."""
        parts, position = [], 0
        for word in words:
            color = f"rgb({FOR if word.effect > 0 else AGAINST} / {abs(word.effect) / full_color * 60:.0f}%)"
            percent = f"{round(100 * word.effect, 1) + 0:+.1f}".replace("-", "−")
            effect = self._format(word.effect, "+") if self.is_regression else percent
            parts += [
                _plain(text, position, word.start, read),
                f'<ruby style="background: {color}">{escape(text[word.start : word.end])}<rt>{effect}</rt></ruby>',
            ]
            position = word.end
        return "".join([*parts, _plain(text, position, len(text), read)])


def _texts(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _plain(text: str, start: int, end: int, read: Spans) -> str:
    """HTML of a part of the text; what is outside the spans that were read is struck through."""
    parts = []
    for first, last in [*read, (len(text), len(text))]:
        if start < (stop := min(first, end)):
            parts.append(f'<span class="unread">{escape(text[start:stop])}</span>')
            start = stop
        if start < (stop := min(last, end)):
            parts.append(escape(text[start:stop]))
            start = stop
    return "".join(parts)


def hint(html: str) -> str:
    """HTML of a small remark."""
    return f'<p class="hint">{html}</p>'


def notice(text: str) -> str:
    """HTML of a remark that must be seen."""
    return f'<p class="notice">{escape(text)}</p>'
