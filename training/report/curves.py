"""Curves of a run over steps: losses, rewards, validation scores."""

from training.report.blocks import chart
from training.report.figures import draw_lines
from training.report.run_files import RunFiles
from training.scoring.layout import for_people

_TRAINING = {
    "loss": "Training loss, nats per token",
    "objective": "Training objective: smoothed loss and all added terms",
    "reward": "Reward of sampled captions, CIDEr-D",
    "rate": "Learning rate of the decoder",
    "gradient_norm": "Gradient norm",
}
_VALIDATION = {
    "CIDEr": "Validation CIDEr",
    "loss": "Validation loss, nats per token",
    "Bleu_4": "Validation BLEU-4",
    "distinct_captions": "Distinct validation captions",
}


def write_curves(record: RunFiles) -> str:
    """Build the section of curves."""
    ends = [step for step, _ in record.stage_ends]
    charts = []
    for name, title in _VALIDATION.items():
        line, label, marks = record.curve(f"val/{name}"), "steps", ends
        if not line:  # metrics.jsonl is missing: history of the checkpoint
            history = enumerate(record.history, start=1)
            line = [(n, for_people(name, entry[name])) for n, entry in history if name in entry]
            label, marks = "validations", []
        drawing = draw_lines(
            {title: line}, title=title, x_label=label, marks=marks, dots=True, best=name == "CIDEr"
        )
        charts.append(chart(title, drawing))
    for name, title in _TRAINING.items():
        line = record.curve(f"train/{name}")
        drawing = draw_lines({title: line}, title=title, x_label="steps", marks=ends)
        charts.append(chart(title, drawing))
    if not any(charts):
        return '<p class="pale">No points yet.</p>\n'
    note = "<p class='pale'>Dashed lines mark the end of a stage.</p>\n" if ends else ""
    return f'<div class="charts">\n{"".join(charts)}</div>\n{note}'
