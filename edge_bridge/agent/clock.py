"""Wall time of the gateway, and back-off between attempts."""

from __future__ import annotations

import random
import time


def wall_ms() -> int:
    """Milliseconds since 1970-01-01T00:00Z by the gateway's clock."""
    return time.time_ns() // 1_000_000


class Backoff:
    """Exponential back-off with full jitter above half: the k-th wait lies in [d/2, d], d = min(longest, first *
    2^(k-1)) seconds. `reset()` after success."""

    def __init__(self, first: float = 0.5, longest: float = 60.0) -> None:
        self.first, self.longest = first, longest
        self.failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now, never less than `at_least` (a server's Retry-After)."""
        ceiling = min(self.longest, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return max(at_least, ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        self.failures = 0
