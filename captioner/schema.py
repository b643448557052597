"""How settings are declared and explained, so that what would do nothing is refused.

Files stay flat. Each method of search, objective and kind of encoder has settings of its own, as if
each were a class of its own; but some depend on single settings, too (`diversity` on `groups`),
which classes could not say. So a field names what it needs, and one rule serves all.
"""

import ast
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from captioner.errors import ConfigError

SET = object()
"""Of a setting that another one needs: any value but its default."""


def beside(default: Any = MISSING, **needs: Any) -> Any:
    """Declare a setting that does something only beside others; elsewhere it is refused.

    Args:
        default: its value where it is left out.
        needs: the others, with the value that each must have, or `SET`.
    """
    return field(default=default, metadata={"needs": needs})


def why_idle(settings: type, values: Mapping[str, Any], name: str) -> str | None:
    """Say why a setting does nothing beside these, and the way out; None if it does something.

    Args:
        settings: a dataclass.
        values: of its fields; defaults where there are none.
        name: of the setting.
    """
    known = {f.name: f for f in fields(settings)}
    for other, needed in known[name].metadata.get("needs", {}).items():
        default = known[other].default
        found = values.get(other, default)
        if (found != default) if needed is SET else (found == needed):
            continue
        way_out = other if needed is SET else f"{other} = {json.dumps(needed)}"
        return f"does nothing while {other} is {json.dumps(found)}; leave it out, or set {way_out}"
    return None


def check_used(
    settings: Any, names: Iterable[str] | None = None, *, where: str, of: str = ""
) -> None:
    """Refuse settings that do nothing beside the others.

    Args:
        settings: a dataclass.
        names: of those asked for; None: of all that have not their default value.
        where: what to call the table in an error.
        of: which of several tables it is.

    Raises:
        ConfigError: one does nothing.
    """
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    changed = (f.name for f in fields(settings) if values[f.name] != f.default)
    for name in changed if names is None else names:
        if why := why_idle(type(settings), values, name):
            raise ConfigError(f"{where}.{name}{of} is {json.dumps(values[name])}, which {why}.")


@cache
def explain(settings: type) -> Mapping[str, str]:
    """Read what is said of each setting under its field; nothing where there is no source.

    Help texts, inputs of the app, descriptions of its API and docs/settings.md are made from it.
    """
    texts = dict.fromkeys((f.name for f in fields(settings)), "")
    for owner in filter(is_dataclass, reversed(settings.__mro__)):
        try:
            [tree] = ast.parse(dedent(inspect.getsource(owner))).body
        except OSError:
            continue
        assert isinstance(tree, ast.ClassDef)
        for statement, after in pairwise(tree.body):
            if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
                assert isinstance(statement.target, ast.Name)
                texts[statement.target.id] = " ".join(ast.literal_eval(after.value).split())
    return texts
