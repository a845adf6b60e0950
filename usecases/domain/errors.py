"""What every calculator of this project raises when the numbers it was given cannot be used."""

from __future__ import annotations

from typing import Any


class InvalidInput(ValueError):  # noqa: N818 - it names the finding, as a form error does
    """A number, weight or record that cannot be used, and where it stands.

    ``code`` is stable and meant for translation, ``field`` names the input at fault (a key, or ``name[index]``),
    ``extra`` holds the figures a page needs to say it plainly.
    """

    def __init__(self, code: str, message: str, *, field: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.extra = extra
