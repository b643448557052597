"""Header and README of a checkpoint -> model card with the hub's metadata."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.checkpoint.header import Header
from captioner.checkpoint.hub.backbones import name_of
from captioner.checkpoint.hub.fetch import import_hub
from captioner.checkpoint.metrics import METRICS

_TASK = "image-to-text"
# Links into our repository lead nowhere on the hub.
_RELATIVE_LINK = re.compile(r"!?\[([^\]]*)\]\((?!\w+:|#)[^)]*\)")

_USE = """\
## Use

```console
$ pip install "captioner[hub]"
$ captioner caption photo.jpg --checkpoint hf:{repo}
```

```python
from captioner import Captioner

caption = Captioner.load("hf:{repo}").caption("photo.jpg")
print(caption.text, [word.probability for word in caption.words])
```
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Metadata that was given, instead of that of README and header."""

    licence: str | None = None
    """Identifier such as `apache-2.0`."""
    language: str | None = None
    """Code of the captions' language."""
    datasets: tuple[str, ...] = ()
    """Training data; by default, from the README, or the names of the annotation files."""
    base_model: str | None = None
    """Pretrained encoder; by default, from the README, or the header."""


def write_card(header: Header, text: str | None, *, repo: str, facts: Facts) -> str:
    """Write a model card: metadata, text, usage.

    Args:
        header: of the checkpoint; its scores become results in the model index, times 100.
        text: the checkpoint's README. Its metadata takes precedence over derived metadata; relative
            links become plain text. If empty, a short text is generated.
        repo: OWNER/NAME.
        facts: metadata that takes precedence over both.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = import_hub()
    source = header.trained_on.get("pretrained")  # the repository that it was converted from
    source = source if isinstance(source, str) and "/" in source else None
    text = text or _default_text(header)
    own = hub.ModelCard(text if text.startswith("---\n") else f"---\n{{}}\n---\n{text}")
    derived = hub.ModelCardData(
        library_name="captioner",
        pipeline_tag=_TASK,
        tags=["image-captioning", "attention", header.model.decoder.label],
        datasets=list(_datasets(header.trained_on)) or None,
        base_model=source or _base_model(header),
        model_name=header.name,
        eval_results=list(_results(header.scores, hub)) or None,
    )
    given = hub.ModelCardData(
        license=facts.licence,
        language=facts.language,
        datasets=list(facts.datasets) or None,
        base_model=facts.base_model,
    )
    known = derived.to_dict() | own.data.to_dict()
    if facts.licence:  # the README's may have a name and a link
        known = {key: value for key, value in known.items() if not key.startswith("license")}
    data = hub.ModelCardData(**known | given.to_dict(), ignore_metadata_errors=True)
    body = _RELATIVE_LINK.sub(r"\1", own.text).strip()
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n\n{_USE.format(repo=repo)}"


def _default_text(header: Header) -> str:
    model = header.model
    millions = f"{header.parameters / 1e6:.1f} M"
    return (
        f"# {header.name}\n\nCaptions photos, with an attention map for every word: "
        f"a {model.decoder.label} on {model.encoder.backbone}, {millions} parameters.\n"
    )


def _results(scores: dict[str, Any], hub: Any) -> Iterator[Any]:
    """Convert every report to results; scores by the official implementation take precedence."""
    for name, report in scores.items():
        if not isinstance(report, dict):
            continue
        plain = "scores" not in report  # numbers alone
        official = {} if plain else report.get("official", {})
        numbers = report if plain else report["scores"] | official.get("scores", {})
        dataset = name if plain else _stem(report.get("annotations", name))
        settings = {
            "search": report.get("search"),
            "tokenizer": official.get("tokenizer") or report.get("tokenizer"),
            "images": report.get("images"),
        }
        for metric, value in numbers.items():
            if metric in METRICS and isinstance(value, float):
                yield hub.EvalResult(
                    task_type=_TASK,
                    task_name="Image captioning",
                    dataset_type=dataset,
                    dataset_name=dataset,
                    dataset_split=name if plain else report.get("split", name),
                    metric_type=METRICS[metric].partition("-")[0].lower(),
                    metric_name=METRICS[metric],
                    metric_value=round(100 * value, 2),
                    metric_args={k: v for k, v in settings.items() if v is not None} or None,
                )


def _settings(trained_on: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of this training, then of those it started from."""
    stage: Any = trained_on
    while isinstance(stage, dict):
        if isinstance(settings := stage.get("settings"), dict):
            yield settings
        stage = stage.get("before")


def _datasets(trained_on: dict[str, Any]) -> Sequence[str]:
    """Return the names of the annotations of this training and of those it started from."""
    names: dict[str, None] = {}
    for settings in _settings(trained_on):
        data = settings.get("data")
        sources = data.get("train") if isinstance(data, dict) else None
        for source in sources if isinstance(sources, list) else []:
            if isinstance(source, dict) and isinstance(source.get("annotations"), str):
                names.setdefault(_stem(source["annotations"]))
    return list(names)


def _stem(annotations: str) -> str:
    """Return the data set's name: `.../dataset_flickr8k.json.gz` -> `flickr8k`."""
    return Path(annotations).name.partition(".")[0].removeprefix("dataset_")


def _base_model(header: Header) -> str | None:
    """Return timm's repository of the encoder's initial weights, if it started from them."""
    if "hub" not in [settings.get("encoder_weights") for settings in _settings(header.trained_on)]:
        return None
    return name_of(header.model.encoder.backbone)
