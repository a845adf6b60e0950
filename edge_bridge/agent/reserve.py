"""Room on the disk that is kept for forgetting: deleting what the portal has taken needs room too, and must not wait for some."""

from __future__ import annotations

import os
from pathlib import Path

#: Bytes: more than the write-ahead log grows to between two checkpoints, and the same again for the checkpoint itself.
SIZE = 2 * 1024 * 1024


class Reserve:
    """A file of ``size`` bytes beside the store. ``held`` says whether it has its room."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path, self._size = path, size
        self.held = path.exists() and path.stat().st_blocks * 512 >= size
        self.take()

    def take(self) -> bool:
        """Take the room (again); False when the disk has none."""
        if self.held:
            return True
        try:
            with self._path.open("wb", buffering=0) as file:
                block = bytes(65_536)
                for _ in range(self._size // len(block)):
                    # A full disk may take a part of a block without an error.
                    if file.write(block) != len(block):
                        raise OSError
                os.fsync(file.fileno())
        except OSError:
            self.give()
            return False
        self.held = True
        return True

    def give(self) -> None:
        """Give the room back to the disk."""
        self._path.unlink(missing_ok=True)
        self.held = False
