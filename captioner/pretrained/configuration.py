"""Reads values of a config.json, with transformers' defaults and checked bounds."""

from typing import Any

from captioner.errors import CheckpointError


class Section:
    """One JSON object of a configuration.

    Args:
        table: the object; anything else is refused.
        where: its location, for error messages.
    """

    def __init__(self, table: Any, *, where: str) -> None:
        if not isinstance(table, dict):
            raise CheckpointError(f"{where} must be a table, not {table!r}.")
        self.where = where
        self._table = table

    def part(self, name: str) -> "Section":
        """Return a nested object; an empty one if missing."""
        table = self._table.get(name)
        return Section({} if table is None else table, where=f"{self.where}: {name}")

    def count(self, name: str, default: int, *, least: int = 1, most: int = 2**20) -> int:
        """Return an integer within bounds."""
        value = self._of(name, default)
        if type(value) is not int or not least <= value <= most:
            raise CheckpointError(
                f"{self.where}: {name} is {value!r}; it must be a whole number from {least} to "
                f"{most}."
            )
        return value

    def counts(self, name: str, default: tuple[int, ...], *, most: int = 2**20) -> tuple[int, ...]:
        """Return positive integers, as many as in `default`."""
        values = self._of(name, list(default))
        whole = isinstance(values, list) and all(type(x) is int and 1 <= x <= most for x in values)
        if not whole or len(values) != len(default):
            raise CheckpointError(
                f"{self.where}: {name} is {values!r}; it must be {len(default)} whole numbers from "
                f"1 to {most}."
            )
        return tuple(values)

    def fraction(self, name: str, default: float) -> float:
        """Return a number in [0, 1)."""
        value = self._of(name, default)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise CheckpointError(
                f"{self.where}: {name} is {value!r}; it must be a number from 0 to below 1."
            )
        return float(value)

    def require(self, **settings: Any) -> None:
        """Refuse a model with unsupported options.

        Args:
            **settings: the only supported value of each option, which is also its default.
        """
        for name, expected in settings.items():
            value = self._of(name, expected)
            if value != expected:
                raise CheckpointError(
                    f"{self.where}: {name} is {value!r}, and only {expected!r} is supported."
                )

    def text(self, name: str, default: str) -> str:
        """Return a string."""
        value = self._of(name, default)
        if not isinstance(value, str):
            raise CheckpointError(f"{self.where}: {name} is {value!r}; it must be a text.")
        return value

    def get(self, name: str) -> Any:
        """Return a value without checks; None if missing."""
        return self._table.get(name)

    def _of(self, name: str, default: Any) -> Any:
        value = self._table.get(name)
        return default if value is None else value
