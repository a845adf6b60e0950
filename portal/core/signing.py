"""May this person sign this kind of thing now? The answer comes from whoever keeps appointments and certificates (coe)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse


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


@dataclass(frozen=True)
class StandIn:
    """For now ``deputy_id`` may sign in the place of ``person_id``; ``basis`` says by whose word, from when, until when and why."""

    person_id: Any
    deputy_id: Any
    site_id: Any = None
    basis: dict[str, Any] = field(default_factory=dict)


DeputyRule = Callable[..., list[StandIn]]
_deputies: DeputyRule | None = None
_deputies_page = ""


def register_deputies(rule: DeputyRule, page: str = "") -> None:
    """``rule(people=, deputy=, site=, now=)``: who stands in for whom at that moment; ``people`` None: for anybody.
    ``page``: name of the page on which a signer names one."""
    global _deputies, _deputies_page
    _deputies, _deputies_page = rule, page


def deputies_url() -> str:
    """Where a signer names a deputy; empty where nobody keeps them."""
    return reverse(_deputies_page) if _deputies_page else ""


def stand_ins(*, people: Any = None, deputy: Any = None, site: Any = None, now: Any = None) -> list[StandIn]:
    """Who stands in at that moment: for these people (ids), or this deputy for whom."""
    if _deputies is None:
        return []
    return _deputies(people=people, deputy=deputy, site=site, now=now)


def may_sign_for(*, deputy: Any, person: Any, kind: str, site: Any = None, now: Any = None) -> SigningVerdict:
    """May ``deputy`` sign this in the place of ``person`` now? Both must be allowed to sign it; the ``basis`` names both."""
    found = [s for s in stand_ins(people=[person.pk], deputy=deputy, site=site, now=now) if s.person_id == person.pk]
    if not found:
        return SigningVerdict(False, f"{person} has not named you as deputy for this, or it has ended.")
    own = may_sign(user=deputy, kind=kind, site=site, now=now)
    if not own.allowed:
        return SigningVerdict(False, f"A deputy needs the right to sign as well. {own.reason}", own.role, own.basis)
    theirs = may_sign(user=person, kind=kind, site=site, now=now)
    if not theirs.allowed:
        return SigningVerdict(False, f"{person} could not sign this either, so nobody can for them.", theirs.role)
    basis = {
        **own.basis,
        "signed_for": {
            "person": str(person.pk),
            "name": str(person),
            "role": theirs.role,
            "reason": theirs.reason,
            "basis": theirs.basis,
        },
        "deputy": found[0].basis,
    }
    return SigningVerdict(True, f"For {person}, {theirs.role}. Own right: {own.reason}", theirs.role, basis)
