"""A run for reports, made of values instead of files."""

from datetime import datetime
from pathlib import Path
from typing import Any

from training.report.run_files import Points, RunFiles


class ToyRun(RunFiles):
    """A run with this history, these settings, curves and lines in its log."""

    def __init__(
        self,
        name: str,
        history: list[dict[str, Any]],
        settings: dict[str, Any],
        *,
        curves: dict[str, Points] | None = None,
        log: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            folder=Path(name),
            checkpoint=None,
            header=None,
            curves=curves or {},
            log=[(datetime(2026, 1, 1), line) for line in log],
        )
        object.__setattr__(self, "_told", (history, settings))

    @property
    def history(self) -> list[dict[str, Any]]:
        return self._told[0]

    @property
    def settings(self) -> dict[str, Any]:
        return self._told[1]
