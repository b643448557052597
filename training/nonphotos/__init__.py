"""Images that are no photos, drawn by a seed: what a captioner should stay silent about.

    writing     pages, code, tables, interfaces, logos
    plots       charts, maps
    figures     diagrams, drawings, patterns, codes to scan, blanks, gradients, noise
    drawing     one image of a kind, by number; stored and shrunk as images on disks are

`python -m training.nonphotos FOLDER` writes some of each kind, to look at.
"""
