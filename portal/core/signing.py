"""May this person sign this kind of thing now? The answer comes from whoever keeps appointments and certificates (coe)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SigningVerdict:
    """``basis`` names the appointment and certificate the answer rests on; it is frozen with the signature."""

    allowed: bool
    reason: str
    role: str = ""
    basis: dict[str, Any] = field(default_factory=dict)


SigningRule = Callable[..., SigningVerdict]
_rule: SigningRule | None = None


def register(rule: SigningRule) -> None:
    """``rule(user=, kind=, site=, now=)``; one rule only, set in ``AppConfig.ready``."""
    global _rule
    _rule = rule


def may_sign(*, user: Any, kind: str, site: Any = None, now: Any = None) -> SigningVerdict:
    """``kind`` is one of: gate_1 … gate_5, model_version, rollout, waiver, safety_waiver."""
    if _rule is None:
        return SigningVerdict(False, "Nobody keeps appointments here, so nobody can sign.")
    return _rule(user=user, kind=kind, site=site, now=now)
