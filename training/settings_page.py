"""All settings of a run as a page: `python -m training.settings_page > docs/settings.md`."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from captioner.config import EncoderConfig, PreprocessConfig, SearchConfig, TaskConfig
from captioner.decoders import DECODERS
from captioner.schema import SET, explain
from training.settings import DataConfig, RunConfig, SourceConfig, StageConfig

_HEAD = """\
# Settings

Made by `python -m training.settings_page` from what stands under each field. "Beside" says what a
setting needs to do anything; where it does nothing, a file that names it is refused.
"""
_TABLES: dict[str, type] = {
    "The run": RunConfig,
    "`[data]`": DataConfig,
    "`[[data.train]]` and `[data.val]`": SourceConfig,
    "`[[stages]]`": StageConfig,
    "`[search]`": SearchConfig,
    "`[preprocess]`": PreprocessConfig,
    "`[model.encoder]`": EncoderConfig,
    "`[model.encoder.task]`": TaskConfig,
    **{f'`[model.decoder]`, `kind = "{kind}"`': found for kind, found in DECODERS.items()},
}


def page() -> Iterator[str]:
    """Yield the lines."""
    yield _HEAD
    for title, settings in _TABLES.items():
        texts = explain(settings)
        yield f"## {title}\n\n| setting | default | beside | what it does |"
        yield "| --- | --- | --- | --- |"
        for f in fields(settings):
            needs = f.metadata.get("needs", {}).items()
            beside = ", ".join(f"`{n}`" if x is SET else f"`{n} = {_show(x)}`" for n, x in needs)
            yield f"| `{f.name}` | {_default(f)} | {beside} | {texts[f.name]} |"
        yield ""


def _default(setting: "Field[Any]") -> str:
    if setting.default is MISSING:
        return "" if setting.default_factory is MISSING else "see its table"
    return f"`{_show(setting.default)}`"


def _show(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


if __name__ == "__main__":
    print("\n".join(page()), end="")
