"""Generated images that are not photos, to teach a captioner when to stay silent.

    writing     pages, code, tables, user interfaces, logos
    plots       charts, maps
    figures     diagrams, drawings, patterns, bar codes, blanks, gradients, noise
    drawing     one image by kind and number, as a file

`python -m training.nonphotos FOLDER` writes samples of each kind.
"""
