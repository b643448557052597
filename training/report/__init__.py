"""A run as one HTML page: curves, scores, captions with overlays, settings and cost.

    run_files               what a run's folder holds: checkpoint, history, events, log, reports
    figures, blocks         charts as SVG; pieces of HTML
    curves, scores, cost    sections
    samples                 captions of validation photos, with attention
    page                    the HTML

`python -m training.report RUN` writes RUN/report.html.
"""
