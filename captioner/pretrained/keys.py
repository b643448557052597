"""Rules that rename weights; a name that fits no rule is refused."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from captioner.errors import CheckpointError

Shape = tuple[int, ...]

_RENAMED = (
    (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
    (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
"""What transformers renames when it reads old files."""


@dataclass(frozen=True)
class Rule:
    """The target of weights whose full name matches a pattern."""

    pattern: str
    """Regular expression of their name there."""
    into: str | tuple[str, ...] = ()
    """Name here, with \\\\1 for what the pattern's groups hold; several share out the rows; none
    drops the weight."""
    place: int = 0
    """Order among the weights that are put together, row upon row, where several become one."""
    transposed: bool = False
    """Whether it is stored (in, out)."""
    skipped: int = 0
    """Rows at the beginning that are left out."""
    also: str = ""
    """Another name here, for a copy of the rows `picked`."""
    picked: tuple[int, ...] = ()
    """Rows of that copy, in this order."""
    onto: str = ""
    """Name here of a weight to whose every row the first one is added."""
    spare: bool = False
    """Whether it is a copy, used only where nothing else gives that weight."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a stored weight."""

    key: str
    """Its name in the file."""
    transposed: bool
    rows: tuple[int, int]
    """First row, and the one behind the last."""
    picked: tuple[int, ...] = ()
    """Rows by number, in place of those."""


@dataclass(frozen=True)
class Assembly:
    """One weight here, of pieces row upon row."""

    shape: Shape
    """Of the weight here; axes of size 1 may be more or fewer than there."""
    pieces: tuple[Piece, ...]
    """None where the weight lacks and is 0."""
    added: Piece | None = None
    """One row, added to all of them."""


def assign(
    stored: Mapping[str, Shape],
    expected: Mapping[str, Shape],
    rules: Sequence[Rule],
    *,
    zeros: Iterable[str] = (),
    where: str,
) -> dict[str, Assembly]:
    """Map stored weights to parameters of the model, without reading them.

    Args:
        stored: shapes by name in the files.
        expected: shapes by name here.
        rules: the first that fits a name counts.
        zeros: names here that may be missing, and are 0 then.
        where: what to call the files in an error.

    Raises:
        CheckpointError: a stored weight fits no rule, an expected one is missing, or shapes differ.
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
                for target, piece in _share_out(key, shape, rule, match):
                    kept.setdefault(target, []).append((rule.place, piece))
                break
        else:
            raise CheckpointError(
                f"{where}: holds a weight {key!r}, which a model of this kind does not have; it "
                "may be of another kind or newer than this captioner."
            )
    assemblies = {}
    for target, shape in expected.items():
        pieces = found.get(target) or spares.get(target, [])[:1]
        if not pieces and target not in zeros:
            raise CheckpointError(f"{where}: misses the weight {target}; fetch or save it again.")
        ordered = tuple(piece for _, piece in sorted(pieces, key=lambda placed: placed[0]))
        _check(target, shape, ordered, stored, where=where)
        more = added.get(target)
        if more is not None:
            _check(target, (1, *shape[1:]), (more,), stored, where=where)
        assemblies[target] = Assembly(shape, ordered, more)
    for target in found:
        if target not in expected:
            raise CheckpointError(
                f"{where}: holds a weight {found[target][0][1].key!r}, for which its config.json "
                "has no place; the two may not belong together."
            )
    return assemblies


def _share_out(
    key: str, shape: Shape, rule: Rule, match: re.Match[str]
) -> Iterable[tuple[str, Piece]]:
    """Return which rows of a weight go where."""
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
    """Make sure that the pieces have the shape of the weight."""
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
            f"{where}: {', '.join(piece.key for piece in pieces)} has the shape {whole}, but by "
            f"its config.json {target} is {shape}; the two may not belong together."
        )


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
