"""May this person sign this kind of thing now? A valid appointment and a certificate that is valid at that moment, or a portal role.

Registered with ``portal.core.signing``. Two queries for a CoE signer; nothing is written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from coe import selectors
from coe.catalogue import PORTAL_SIGNERS, SPONSOR_SIGNS, WORDS
from coe.models import Appointment, Certificate, CoeRole
from devices.models import Site
from portal.core.clock import day_text, rfc3339, wall_now
from portal.core.roles import ROLES
from portal.core.signing import SigningVerdict
from usecases.models import UseCase


def may_sign(*, user: Any, kind: str, site: Any = None, now: datetime | None = None) -> SigningVerdict:
    """``kind`` as in coe.catalogue.KINDS; without a ``site`` only company-wide appointments count.

    ``basis`` names what the answer rests on: appointment and certificate with their validity, or the portal role.
    """
    now = now or wall_now()
    if kind not in WORDS:
        return SigningVerdict(False, f"Nothing of the kind {kind!r} is signed here.")
    if user is None or not user.is_active:
        return SigningVerdict(False, "This person has no active account.")
    roles = [role for role in CoeRole.objects.all() if kind in role.signs]
    refusals: list[SigningVerdict] = []
    if roles:
        appointments = list(
            Appointment.objects.filter(user=user, role__in=roles).select_related("role", "site").order_by("interim")
        )
        certificates = list(
            Certificate.objects.filter(user=user, role__in=roles).order_by("-valid_until", "-issued_at")
        )
        for role in roles:
            verdict = _by_role(
                role,
                [a for a in appointments if a.role_id == role.pk],
                [c for c in certificates if c.role_id == role.pk],
                site,
                now,
            )
            if verdict.allowed:
                return verdict
            if verdict.reason:
                refusals.append(verdict)
    by_portal = _by_portal_role(user, kind, site)
    if by_portal is not None:
        if by_portal.allowed:
            return by_portal
        refusals.append(by_portal)
    if refusals:
        return refusals[0]
    return SigningVerdict(False, _nobody(kind, roles, site))


def _by_role(
    role: CoeRole, appointments: list[Appointment], certificates: list[Certificate], site: Any, now: datetime
) -> SigningVerdict:
    """The verdict for one CoE role; a refusal without a reason means that the person never held it here."""
    site_id = getattr(site, "pk", None)
    here = [a for a in appointments if a.site_id is None or a.site_id == site_id]
    valid = [a for a in here if selectors.appointment_valid(a, now)]
    if not valid:
        return SigningVerdict(False, _no_appointment(role, appointments, here, site, now))
    certificate = next((c for c in certificates if selectors.certificate_valid(c, now)), None)
    if certificate is not None:
        appointment = valid[0]
        return SigningVerdict(
            True, f"{role.name}, appointed and certified.", role.name, _basis(appointment, certificate)
        )
    # An interim appointment stands in for a certificate that was never earned, not for one that expired or was revoked.
    interim = next((a for a in valid if a.interim), None)
    if interim is not None and not certificates:
        until = day_text(interim.valid_until)
        return SigningVerdict(
            True,
            f"{role.name}, interim until {until}; there is no certificate yet.",
            role.name,
            _basis(interim, None) | {"note": f"interim appointment without a certificate, until {until}"},
        )
    return SigningVerdict(False, _no_certificate(role, certificates, now))


def _basis(appointment: Appointment, certificate: Certificate | None) -> dict[str, Any]:
    basis: dict[str, Any] = {
        "rests_on": "appointment and certificate" if certificate else "interim appointment",
        "role_key": appointment.role.key,
        "role_name": appointment.role.name,
        "appointment": str(appointment.pk),
        "appointment_interim": appointment.interim,
        "appointment_site": str(appointment.site_id) if appointment.site_id else None,
        "appointment_from": rfc3339(appointment.valid_from),
        "appointment_until": rfc3339(appointment.valid_until) if appointment.valid_until else None,
        "certificate": None,
    }
    if certificate is not None:
        basis |= {
            "certificate": str(certificate.pk),
            "certificate_issued_at": rfc3339(certificate.issued_at),
            "certificate_until": rfc3339(certificate.valid_until),
        }
    return basis


def _no_appointment(role: CoeRole, every: list[Appointment], here: list[Appointment], site: Any, now: datetime) -> str:
    past = [end for a in here if (end := selectors.appointment_end_of(a)) is not None and end <= now]
    if past:
        return f"Your appointment as {role.name} ended on {day_text(max(past))}. Ask the CoE lead for a new one."
    coming = [a for a in here if a.valid_from > now]
    if coming:
        return f"Your appointment as {role.name} begins on {day_text(min(a.valid_from for a in coming))}."
    elsewhere = [a for a in every if selectors.appointment_valid(a, now)]
    if elsewhere:
        where = str(site) if site is not None else "all sites"
        return (
            f"You are {role.name} for {elsewhere[0].site}, not for {where}. Ask the CoE lead for an appointment there."
        )
    return ""


def _no_certificate(role: CoeRole, certificates: list[Certificate], now: datetime) -> str:
    track = selectors.track_for(role)
    take = f"Take the track “{track.title}”" if track else "Ask the CoE lead for a track"
    if not certificates:
        return f"You are appointed as {role.name} but hold no certificate for it. {take}."
    newest = certificates[0]
    if newest.revoked_at is not None and newest.revoked_at <= now:
        why = f" ({newest.revoked_reason})" if newest.revoked_reason else ""
        return f"Your certificate as {role.name} was revoked on {day_text(newest.revoked_at)}{why}. {take} again."
    return (
        f"Your certificate as {role.name} expired on {day_text(newest.valid_until)}, "
        f"{max(1, (now - newest.valid_until).days)} days ago. {take} again to renew it."
    )


def _by_portal_role(user: Any, kind: str, site: Any) -> SigningVerdict | None:
    """Plant managers, sponsors and the CoE lead sign by their role, where they hold the verb ``sign``; None: not one of them."""
    keys = [key for key in user.role_keys if key in PORTAL_SIGNERS.get(kind, ())]
    if keys:
        label = ROLES[keys[0]].label
        if site is not None and not Site.objects.permitted(user, "sign").filter(pk=site.pk).exists():
            return SigningVerdict(False, f"You are {label}, but not with the right to sign for {site}.")
        basis = {"rests_on": "portal role", "role_key": keys[0], "role_name": label, "portal_roles": keys}
        return SigningVerdict(True, f"{label}, by portal role.", label, basis)
    if kind in SPONSOR_SIGNS and site is None and UseCase.objects.filter(sponsor=user).exists():
        basis = {"rests_on": "portal role", "role_key": "sponsor", "role_name": "Sponsor", "portal_roles": []}
        return SigningVerdict(True, "Sponsor of a use case.", "Sponsor", basis)
    return None


def _nobody(kind: str, roles: list[CoeRole], site: Any) -> str:
    who = [role.name for role in roles] + [ROLES[key].label for key in sorted(PORTAL_SIGNERS.get(kind, ()))]
    where = f" for {site}" if site is not None and roles else ""
    needs = " with a valid appointment and certificate" if roles else ""
    return f"Signing {WORDS[kind]} needs {' or '.join(who)}{needs}. You hold no such role{where}."
