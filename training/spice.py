"""SPICE, by its Java program, where that can run; and why it cannot, where not.

Source: Anderson et al. 2016, "SPICE: Semantic Propositional Image Caption Evaluation"
(arXiv:1607.08822). pycocoevalcap carries the program but not the parser it needs, Stanford CoreNLP
3.6.0, and would fetch half a gigabyte unasked; here that is left to the user.
"""

import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from captioner.errors import CaptionerError, MissingExtraError

_PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def score_spice(references: Mapping[int, list[str]], candidates: Mapping[int, list[str]]) -> float:
    """Score one caption per image, split into words that are joined by spaces.

    Returns:
        The mean F-score of the propositions, a fraction.

    Raises:
        MissingExtraError: pycocoevalcap, Java or the parser is not installed.
        CaptionerError: the program failed.
    """
    require_spice()
    from pycocoevalcap.spice.spice import Spice  # noqa: PLC0415  # an extra, met where it is needed

    try:
        value, _ = Spice().compute_score(dict(references), dict(candidates))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise CaptionerError(
            f"SPICE's Java program failed ({error}); what Java said stands above. It was written "
            "for Java 8, and may not run on newer ones; it takes up to 8 GB of memory."
        ) from error
    return float(value)


def require_spice() -> None:
    """Make sure that SPICE can be started.

    Raises:
        MissingExtraError: pycocoevalcap, Java or the parser is not installed.
    """
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("SPICE needs pycocoevalcap: pip install 'pycocoevalcap>=1.2'")
    if shutil.which("java") is None:
        raise MissingExtraError("SPICE needs Java 8, and there is no `java` on the PATH.")
    library = Path(next(iter(package.submodule_search_locations))) / "spice" / "lib"
    if missing := [name for name in _PARSER if not (library / name).is_file()]:
        raise MissingExtraError(
            f"SPICE needs Stanford CoreNLP 3.6.0 (2015-12-09): put {' and '.join(missing)} into "
            f"{library}."
        )
