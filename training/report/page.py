"""The HTML of a run's report: one file without scripts or external resources, all text escaped."""

import json
from collections.abc import Mapping, Sequence

from captioner.overlay.figure import CSS, POLICY, text
from training.report.blocks import definitions, text_lines
from training.report.cost import write_cost
from training.report.curves import write_curves
from training.report.figures import COLOURS
from training.report.run_files import RunFiles
from training.report.scores import write_scores
from training.scoring.layout import in_percent

_CSS = """\
body { padding: 1rem clamp(1rem, 4vw, 3rem) 3rem; --line: #d8d8d8; }
@media (prefers-color-scheme: dark) {
  body { --a: #7cb0ff; --b: #fb9a5c; --line: #3d3d3d; }
}
main { max-width: 76rem; margin: auto; }
h1 { margin: .5rem 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .8rem; font-size: 1.25rem; }
h3 { margin: 0 0 .3rem; font-size: 1rem; font-weight: 600; }
h3.next { margin-top: 2rem; }
.charts, .photos { display: grid; gap: 1.5rem; margin-block: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.chart { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg text.pale { fill: var(--pale); }
.grid { stroke: var(--line); }
.axis { stroke: var(--pale); }
.mark { stroke: var(--pale); stroke-dasharray: 3 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line { stroke: var(--own); }
.dot, .bar { fill: var(--own); }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.key { color: var(--own); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td { vertical-align: baseline; }
td.n, th.n { text-align: right; }
td.n, th.n, td.pale { white-space: nowrap; }
p { max-width: 60rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: .85rem; }
.photos .caption { font-size: 1.15rem; margin: .6rem 0; }
.photos .photo, .photos .heat { width: min(100%, 22rem * var(--shape)); }
.photos legend { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
"""
_CSS += "".join(f".{name} {{ --own: var(--{name}, {own}); }}\n" for name, own in COLOURS.items())


def write_page(record: RunFiles, *, photos: Sequence[str], notes: Mapping[str, str]) -> str:
    """Build the page.

    Args:
        record: the run.
        photos: captioned photos, as HTML.
        notes: why something is missing, by section: `photos`, `scores`, `grounding`.
    """
    name = record.header.name if record.header else record.folder.name
    parts = [
        _summary(record),
        _section("Curves", write_curves(record)),
        _section(
            "Scores", write_scores(record) + _note(notes, "grounding") + _note(notes, "scores")
        ),
        _section("Photos", _photos(record, photos) + _note(notes, "photos")),
        _section("Cost", write_cost(record)),
        _section("Settings", _settings(record)),
    ]
    return frame_page(f"{name}: report of a run", name, "".join(parts))


def frame_page(title: str, heading: str, content: str) -> str:
    """Wrap sections in a page.

    Args:
        title: title of the window.
        heading: heading of the page.
        content: the sections, as HTML.
    """
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>
{CSS}{_CSS}</style>
</head>
<body>
<main>
<h1>{text(heading)}</h1>
{content}</main>
</body>
</html>
"""


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}</section>\n" if content else ""


def _note(notes: Mapping[str, str], name: str) -> str:
    return f'<p class="pale">{text(notes[name])}</p>\n' if name in notes else ""


def _summary(record: RunFiles) -> str:
    rows = {"run": record.state}
    if record.history:
        best = max(record.history, key=lambda entry: entry["CIDEr"])
        rows["best"] = (
            f"validation CIDEr {in_percent(best['CIDEr'])}, BLEU-4 {in_percent(best['Bleu_4'])}, "
            f"{best['distinct_captions']} distinct captions, in epoch {best['epoch']} of "
            f"{best['stage']}"
        )
    if record.header:
        model = record.header.model
        rows["model"] = (
            f"{model.encoder.backbone}, {model.decoder.label} decoder, "
            f"{record.header.parameters / 1e6:.1f} M parameters, "
            f"vocabulary of {len(record.header.tokenizer)}"
        )
        trained = record.header.trained_on
        rows["trained on"] = (
            f"{trained.get('photos', '?')} photos, {trained.get('steps', '?')} steps"
        )
    if record.log:
        first, last = record.log[0][0], record.log[-1][0]
        rows["log"] = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
    return definitions(rows)


def _photos(record: RunFiles, photos: Sequence[str]) -> str:
    note = '<p class="pale">Point at a word or select it to see its attention map.</p>\n'
    return f'{note}<div class="photos">\n{"".join(photos)}</div>\n' if photos else ""


def _settings(record: RunFiles) -> str:
    if not record.settings:
        return ""
    settings = text_lines(json.dumps(record.settings, indent=2, ensure_ascii=False))
    log = text_lines("\n".join(f"{when}  {line}" for when, line in record.log))
    log_block = f"<details><summary>Log</summary><pre>{log}</pre></details>\n" if log else ""
    return (
        f"<details><summary>All settings that affect the result</summary>"
        f"<pre>{settings}</pre></details>\n{log_block}"
    )
