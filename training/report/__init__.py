"""A run as one HTML page: curves, scores, captions with attention maps, settings and cost.

    run_files               the contents of a run's folder: checkpoint, history, log, reports
    figures, blocks         charts as SVG; pieces of HTML
    curves, scores, cost    sections of the page
    samples                 captioned validation photos with attention maps
    page                    the HTML

`python -m training.report RUN` writes RUN/report.html.
"""
