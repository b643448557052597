"""A run as one HTML page: curves, scores, captions with overlays, settings and cost.

    record                  what a run's folder holds: checkpoint, history, events, log, reports
    figures, parts          charts as SVG; pieces of HTML
    curves, scores, cost    sections
    photos                  captions of validation photos, and where the model looked
    page                    the HTML

`python -m training.report RUN` writes RUN/report.html.
"""
