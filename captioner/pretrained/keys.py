"""Rules that rename weights; a weight that matches no rule is an error."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from captioner.errors import CheckpointError

Shape = tuple[int, ...]

_RENAMED = (
    (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
    (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
"""Names in old files that transformers also renames."""


@dataclass(frozen=True)
class Rule:
    """Where stored weights go whose full name matches a pattern."""

    pattern: str
    """Regular expression for the stored name."""
    into: str | tuple[str, ...] = ()
    """Our name, with \\\\1 for groups of the pattern. Several names split the rows evenly; none
    drops the weight."""
    place: int = 0
    """Position among stored weights that are concatenated into one of ours."""
    transposed: bool = False
    """Whether the weight is stored as (in, out)."""
    skipped: int = 0
    """Leading rows to drop."""
    also: str = ""
    """Our name of a copy that holds the rows `picked`."""
    picked: tuple[int, ...] = ()
    """Rows of that copy, in order."""
    onto: str = ""
    """Our name of a weight to whose every row the first stored row is added."""
    spare: bool = False
    """Whether it is a tied copy, used only if no other rule provides the weight."""


@dataclass(frozen=True)
class Piece:
    """Rows of a stored weight."""

    key: str
    """Name of the weight in the file."""
    transposed: bool
    """Whether the weight is stored as (in, out)."""
    rows: tuple[int, int]
    """Range of rows, end exclusive."""
    picked: tuple[int, ...] = ()
    """Row indices that replace the range."""


@dataclass(frozen=True)
class Assembly:
    """One of our weights, concatenated from pieces."""

    shape: Shape
    """Shape of our weight; the stored one may have other axes of size 1."""
    pieces: tuple[Piece, ...]
    """Pieces in order; empty if the weight is missing and set to 0."""
    added: Piece | None = None
    """Row to add to every row."""


def assign(
    stored: Mapping[str, Shape],
    expected: Mapping[str, Shape],
    rules: Sequence[Rule],
    *,
    zeros: Iterable[str] = (),
    where: str,
) -> dict[str, Assembly]:
    """Map stored weights to the model's parameters, without reading them.

    Args:
        stored: shapes by stored name.
        expected: shapes by our name.
        rules: the first rule that matches a name counts.
        zeros: our names of weights that may be missing; they are set to 0.
        where: path of the files, for error messages.

    Raises:
        CheckpointError: a stored weight matches no rule, a weight is missing, or shapes differ.
    """
    found: dict[str, list[tuple[int, Piece]]] = {}
    spares: dict[str, list[tuple[int, Piece]]] = {}
    added: dict[str, Piece] = {}
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    for key, shape in stored.items():
        name = key
        for old, new in _RENAMED:
            name = old.sub(new, name)
        for pattern, rule in compiled:
            if match := pattern.fullmatch(name):
                kept = spares if rule.spare else found
                if rule.onto:
                    added[rule.onto] = Piece(key, rule.transposed, (0, 1))
                for target, piece in _split_rows(key, shape, rule, match):
                    kept.setdefault(target, []).append((rule.place, piece))
                break
        else:
            raise CheckpointError(
                f"{where}: unexpected weight {key!r}; the model may be of another type, or newer "
                "than this version of captioner."
            )
    assemblies = {}
    for target, shape in expected.items():
        pieces = found.get(target) or spares.get(target, [])[:1]
        if not pieces and target not in zeros:
            problem = f"{where}: weight {target} is missing; download or save it again."
            raise CheckpointError(problem)
        ordered = tuple(piece for _, piece in sorted(pieces, key=lambda placed: placed[0]))
        _check(target, shape, ordered, stored, where=where)
        more = added.get(target)
        if more is not None:
            _check(target, (1, *shape[1:]), (more,), stored, where=where)
        assemblies[target] = Assembly(shape, ordered, more)
    for target in found:
        if target not in expected:
            raise CheckpointError(
                f"{where}: weight {found[target][0][1].key!r} does not fit its config.json; the "
                "two may not belong together."
            )
    return assemblies


def _split_rows(
    key: str, shape: Shape, rule: Rule, match: re.Match[str]
) -> Iterable[tuple[str, Piece]]:
    """Yield our names with the rows of a stored weight that go there."""
    targets = (rule.into,) if isinstance(rule.into, str) else rule.into
    rows = shape[-1 if rule.transposed else 0] if shape else 1
    first, share = rule.skipped, (rows - rule.skipped) // max(1, len(targets))
    for number, target in enumerate(targets):
        begin = first + number * share
        end = rows if number == len(targets) - 1 else begin + share
        yield match.expand(target), Piece(key, rule.transposed, (begin, end))
    if rule.also:
        yield rule.also, Piece(key, rule.transposed, (0, len(rule.picked)), rule.picked)


def _check(
    target: str,
    shape: Shape,
    pieces: Sequence[Piece],
    stored: Mapping[str, Shape],
    *,
    where: str,
) -> None:
    """Check that the pieces have the shape of the weight."""
    shapes = []
    for piece in pieces:
        given = stored[piece.key]
        given = given[::-1] if piece.transposed else given
        lost = max(piece.picked, default=-1) >= given[0] if given else False
        rows = 0 if lost else piece.rows[1] - piece.rows[0]
        shapes.append((rows, *given[1:]))
    if not shapes:
        return
    if len(shapes) == 1:
        fits = _without_ones(shapes[0]) == _without_ones(shape)
        whole: Shape = shapes[0]
    else:
        whole = (sum(rows for rows, *_ in shapes), *shapes[0][1:])
        fits = whole == shape and len({tuple(rest) for _, *rest in shapes}) == 1
    if not fits:
        raise CheckpointError(
            f"{where}: {', '.join(piece.key for piece in pieces)} has shape {whole}, but its "
            f"config.json implies {shape} for {target}; the two may not belong together."
        )


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
