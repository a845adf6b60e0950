"""Stop on this machine: a file that the agent looks at before every block, so that it works with no portal at all."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from edge_bridge.agent.clock import wall_ms
from edge_bridge.agent.identity import write_private

ALL = "*"


@dataclass(frozen=True)
class LocalStop:
    """Which installations are stopped here (`*` = all) and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def holds(self, installation: str) -> bool:
        return ALL in self.reasons or installation in self.reasons

    @property
    def reason(self) -> str:
        return "; ".join(dict.fromkeys(self.reasons.values()))


class StopFile:
    """The stop file of a state directory. A file that cannot be understood counts as a stop of everything: the safe
    side."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "stop.json"
        self._seen: tuple[int, int] | None = None
        self._stop = LocalStop()

    def read(self) -> LocalStop:
        """The stop in force now; costs one stat call while nothing changes."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._stop = None, LocalStop()
            return self._stop
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            self._stop = _parse(self.path)
            self._seen = seen
        return self._stop

    def stop(self, installation: str | None, reason: str) -> None:
        """Stop one installation, or all."""
        reasons = dict(self.read().reasons)
        reasons[installation or ALL] = reason or "stopped on this machine"
        write_private(self.path, json.dumps({"reasons": reasons, "wall_ms": wall_ms()}))

    def resume(self, installation: str | None) -> None:
        """Lift the stop of one installation, or every stop. KeyError if that one is held only by a stop of all."""
        reasons = dict(self.read().reasons)
        if installation is not None:
            del reasons[installation]
        if installation is None or not reasons:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        else:
            write_private(self.path, json.dumps({"reasons": reasons, "wall_ms": wall_ms()}))


def _parse(path: Path) -> LocalStop:
    try:
        reasons = json.loads(path.read_text(encoding="utf-8"))["reasons"]
        return LocalStop({str(key): str(value)[:500] for key, value in reasons.items()} or {ALL: "empty stop file"})
    except FileNotFoundError:
        return LocalStop()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return LocalStop({ALL: "the stop file cannot be read"})
