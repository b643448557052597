"""Official scores, from coco-caption's code and Java programs; needs pycocoevalcap and Java.

METEOR exists only here: it is a Java program with settings of its own, and Python ports give other
numbers. SPICE is added where it runs (Anderson et al. 2016, arXiv:1607.08822): pycocoevalcap ships
the program but not the parser it needs, Stanford CoreNLP 3.6.0, and would download half a gigabyte
without asking; installing it is left to the user.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from captioner.errors import CaptionerError, MissingExtraError

TOKENIZER = "stanford-ptb 3.4.1 (pycocoevalcap)"
"""Name of the tokenizer in reports."""
_PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def score_official(
    references: Mapping[int, Sequence[str]], captions: Mapping[int, str]
) -> dict[str, float]:
    """Score one caption per image against the image's references, as `training.metrics.score` does.

    Returns:
        Bleu_1 to Bleu_4, METEOR and ROUGE_L from 0 to 1, CIDEr from 0 to 10; SPICE, from 0 to 1,
        where it runs. Otherwise standard error says why not.

    Raises:
        MissingExtraError: pycocoevalcap or Java is not installed.
        CaptionerError: a Java program failed.
    """
    _require_java()
    from pycocoevalcap.bleu.bleu import Bleu  # noqa: PLC0415  # an optional extra
    from pycocoevalcap.cider.cider import Cider  # noqa: PLC0415
    from pycocoevalcap.rouge.rouge import Rouge  # noqa: PLC0415

    expected = tokenize_officially({image: references[image] for image in captions})
    found = tokenize_officially({image: [caption] for image, caption in captions.items()})
    corpus, _ = Bleu(4).compute_score(expected, found, verbose=0)
    scores = {
        **{f"Bleu_{n}": float(value) for n, value in enumerate(corpus, start=1)},
        "METEOR": _meteor(expected, found),
        "ROUGE_L": float(Rouge().compute_score(expected, found)[0]),
        "CIDEr": float(Cider().compute_score(expected, found)[0]),
    }
    try:
        scores["SPICE"] = score_spice(expected, found)
    except CaptionerError as error:
        print(f"SPICE is left out: {error}", file=sys.stderr)
    return scores


def tokenize_officially(sentences: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
    """Tokenize each image's sentences with Stanford's tokenizer; words are joined by spaces.

    Raises:
        MissingExtraError: pycocoevalcap or Java is not installed.
        CaptionerError: the Java program failed.
    """
    _require_java()
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer  # noqa: PLC0415

    # The program works line by line and knows more line breaks than its caller removes.
    lines = {
        image: [{"caption": " ".join(sentence.split())} for sentence in group]
        for image, group in sentences.items()
    }
    try:
        words: dict[int, list[str]] = PTBTokenizer().tokenize(lines)
    except OSError as error:
        raise CaptionerError(f"Stanford's tokenizer could not be started: {error}.") from error
    written = "".join(line["caption"] for group in lines.values() for line in group)
    nothing = not any("".join(group) for group in words.values())
    counts = [{i: len(group) for i, group in each.items()} for each in (words, lines)]
    if counts[0] != counts[1] or (nothing and any(map(str.isalnum, written))):
        raise CaptionerError(
            "Stanford's tokenizer did not return every sentence; Java's own message is above. Does "
            "`java -version` work? Without --official, no Java is needed."
        )
    return words


def score_spice(references: Mapping[int, list[str]], candidates: Mapping[int, list[str]]) -> float:
    """Compute SPICE of one caption per image, tokenized and joined by spaces.

    Returns:
        Mean F-score of the scene-graph tuples, from 0 to 1.

    Raises:
        MissingExtraError: pycocoevalcap, Java or the parser is not installed.
        CaptionerError: the program failed.
    """
    require_spice()
    from pycocoevalcap.spice.spice import Spice  # noqa: PLC0415  # an optional extra

    try:
        value, _ = Spice().compute_score(dict(references), dict(candidates))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise CaptionerError(
            f"SPICE's Java program failed ({error}); Java's own message is above. It was written "
            "for Java 8, may not run on newer versions, and takes up to 8 GB of memory."
        ) from error
    return float(value)


def require_spice() -> None:
    """Check that SPICE can be started.

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


def _meteor(references: dict[int, list[str]], candidates: dict[int, list[str]]) -> float:
    from pycocoevalcap.meteor.meteor import Meteor  # noqa: PLC0415

    meteor = Meteor()
    program = getattr(meteor, "meteor_p", None)
    try:
        value, _ = meteor.compute_score(references, candidates)
    except (OSError, ValueError) as error:
        reason: object = error
        if program is not None:
            program.kill()
            reason = program.stderr.read().decode(errors="replace").strip() or error
        raise CaptionerError(
            f"METEOR's Java program failed: {reason}. It needs 2 GB of free memory."
        ) from error
    finally:
        # `Meteor` closes one of its three pipes, and deadlocks on its lock when interrupted.
        lock = getattr(meteor, "lock", None)
        if lock is not None and lock.locked():
            lock.release()
        if program is not None:
            for pipe in (program.stdin, program.stdout, program.stderr):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            program.wait()  # it exits when its input closes
    return float(value)


def _require_java() -> None:
    try:
        import pycocoevalcap.tokenizer.ptbtokenizer  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "The official scores need pycocoevalcap: pip install 'pycocoevalcap>=1.2'"
        ) from error
    if shutil.which("java") is None:
        raise MissingExtraError(
            "The official scores need Java 8 or newer, and there is no `java` on the PATH. Install "
            "it (apt install default-jre-headless, brew install openjdk), or drop --official for "
            "every score except METEOR."
        )
