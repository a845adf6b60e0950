"""Who may sign: appointment and certificate valid at that moment, interim bootstrap, portal roles."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coe.models import CoeRole, Track
from coe.services import appointment_end, certificate_revoke, content_sync, roles_sync, tracks_load
from portal.core import signing
from portal.core.access import grant_role
from portal.core.clock import wall_now
from tests.coe.builders import appoint, certify

pytestmark = pytest.mark.django_db


def test_roles_and_tracks_exist_after_migration_and_a_second_load_writes_nothing() -> None:
    assert dict(CoeRole.objects.values_list("key", "signs")) == {
        "edge_architect": ["gate_2", "rollout"],
        "data_steward": ["gate_3"],
        "safety_officer": ["model_version", "rollout", "safety_waiver", "gate_3"],
    }
    assert Track.objects.count() == 3
    for track in Track.objects.all():
        questions = list(track.questions.all())
        assert len(questions) >= 8
        assert len(track.lessons) >= 4
        assert all(0 <= q.right < len(q.choices) == 4 for q in questions)
        assert len({q.right for q in questions}) == 4
    assert roles_sync() == 0
    assert tracks_load() == 0


def test_a_changed_track_is_brought_back_to_its_content() -> None:
    track = Track.objects.get(code="ai-safety-at-the-machine")
    track.questions.filter(position=1).delete()
    Track.objects.filter(pk=track.pk).update(title="Something else")
    CoeRole.objects.filter(key="data_steward").update(signs=[])
    content_sync()
    track.refresh_from_db()
    assert track.title.startswith("AI safety")
    assert track.questions.count() == 12
    assert CoeRole.objects.get(key="data_steward").signs == ["gate_3"]
    assert tracks_load() == 0


def test_appointment_and_certificate_sign_and_the_basis_names_both(cast: Any) -> None:
    officer = cast.safety_officer
    appointment, certificate = appoint(officer, site=cast.home), certify(officer)
    verdict = signing.may_sign(user=officer, kind="gate_3", site=cast.home)
    assert verdict.allowed
    assert verdict.role == "AI Safety Officer"
    assert verdict.basis["role_key"] == "safety_officer"
    assert verdict.basis["appointment"] == str(appointment.pk)
    assert verdict.basis["certificate"] == str(certificate.pk)
    assert verdict.basis["certificate_until"].startswith(f"{certificate.valid_until:%Y-%m-%d}")


def test_an_expired_certificate_refuses_and_says_since_when_and_what_to_do(cast: Any) -> None:
    officer = cast.safety_officer
    appoint(officer)
    certificate = certify(officer, days=-12)
    verdict = signing.may_sign(user=officer, kind="rollout", site=cast.home)
    assert not verdict.allowed
    assert f"expired on {certificate.valid_until:%d %b %Y}, 12 days ago" in verdict.reason
    assert "AI safety at the machine" in verdict.reason
    # At the time it was valid it did sign.
    assert signing.may_sign(user=officer, kind="rollout", now=wall_now() - timedelta(days=20)).allowed


@pytest.mark.parametrize("kind", ["gate_3", "model_version", "rollout", "safety_waiver"])
def test_nobody_signs_by_belonging_to_the_portal_role_alone(cast: Any, kind: str) -> None:
    verdict = signing.may_sign(user=cast.safety_officer, kind=kind, site=cast.home)
    assert not verdict.allowed
    assert "AI Safety Officer" in verdict.reason


def test_a_revoked_certificate_refuses_with_its_reason(cast: Any) -> None:
    appoint(cast.safety_officer)
    certificate = certify(cast.safety_officer)
    certificate_revoke(actor=cast.coe_lead, certificate=certificate, reason="answers were shared")
    verdict = signing.may_sign(user=cast.safety_officer, kind="rollout")
    assert not verdict.allowed
    assert "revoked" in verdict.reason
    assert "answers were shared" in verdict.reason


def test_an_interim_appointment_bootstraps_until_it_expires(cast: Any) -> None:
    officer = cast.safety_officer
    now = wall_now()
    appoint(officer, interim=True, valid_until=now + timedelta(days=10))
    verdict = signing.may_sign(user=officer, kind="model_version")
    assert verdict.allowed
    assert "interim" in verdict.reason
    assert verdict.basis["certificate"] is None
    assert verdict.basis["rests_on"] == "interim appointment"
    late = signing.may_sign(user=officer, kind="model_version", now=now + timedelta(days=11))
    assert not late.allowed
    assert "ended" in late.reason


def test_interim_does_not_stand_in_for_an_expired_certificate(cast: Any) -> None:
    officer = cast.safety_officer
    appoint(officer, interim=True, valid_until=wall_now() + timedelta(days=10))
    certify(officer, days=-3)
    verdict = signing.may_sign(user=officer, kind="model_version")
    assert not verdict.allowed
    assert "expired" in verdict.reason


def test_a_renewed_certificate_signs_beside_the_expired_one(cast: Any) -> None:
    appoint(cast.safety_officer)
    certify(cast.safety_officer, days=-3)
    fresh = certify(cast.safety_officer, days=300, issued_at=wall_now())
    verdict = signing.may_sign(user=cast.safety_officer, kind="rollout")
    assert verdict.allowed
    assert verdict.basis["certificate"] == str(fresh.pk)


def test_an_appointment_counts_for_its_site_only(cast: Any) -> None:
    officer = cast.safety_officer
    appoint(officer, site=cast.home)
    certify(officer)
    assert signing.may_sign(user=officer, kind="rollout", site=cast.home).allowed
    elsewhere = signing.may_sign(user=officer, kind="rollout", site=cast.away)
    assert not elsewhere.allowed
    assert "not for Away" in elsewhere.reason
    everywhere = signing.may_sign(user=officer, kind="model_version")
    assert not everywhere.allowed
    assert "all sites" in everywhere.reason


def test_an_ended_or_future_appointment_refuses(cast: Any) -> None:
    certify(cast.safety_officer)
    appointment = appoint(cast.safety_officer)
    appointment_end(actor=cast.coe_lead, appointment=appointment)
    assert "ended on" in signing.may_sign(user=cast.safety_officer, kind="rollout").reason
    certify(cast.edge_architect, "edge_architect")
    appoint(cast.edge_architect, "edge_architect", valid_from=wall_now() + timedelta(days=2))
    assert "begins on" in signing.may_sign(user=cast.edge_architect, kind="rollout").reason


def test_each_role_signs_its_kinds_only(cast: Any) -> None:
    appoint(cast.edge_architect, "edge_architect")
    certify(cast.edge_architect, "edge_architect")
    appoint(cast.data_steward, "data_steward")
    certify(cast.data_steward, "data_steward")

    def allowed(user: Any) -> set[str]:
        kinds = [
            "gate_1",
            "gate_2",
            "gate_3",
            "gate_4",
            "gate_5",
            "model_version",
            "rollout",
            "waiver",
            "safety_waiver",
        ]
        return {kind for kind in kinds if signing.may_sign(user=user, kind=kind, site=None).allowed}

    assert allowed(cast.edge_architect) == {"gate_2", "rollout"}
    assert allowed(cast.data_steward) == {"gate_3"}
    assert allowed(cast.coe_lead) == {"gate_1", "gate_2", "gate_4", "gate_5", "waiver"}
    assert allowed(cast.plant_manager) == {"gate_1", "gate_2", "gate_3", "gate_4", "gate_5"}
    assert allowed(cast.executive) == {"gate_1", "gate_5"}
    assert allowed(cast.ot_engineer) == set()


def test_a_plant_manager_signs_for_the_own_site_only(cast: Any) -> None:
    own = signing.may_sign(user=cast.plant_manager, kind="gate_4", site=cast.home)
    assert own.allowed
    assert own.basis["rests_on"] == "portal role"
    assert own.basis["role_key"] == "plant_manager"
    other = signing.may_sign(user=cast.plant_manager, kind="gate_4", site=cast.away)
    assert not other.allowed
    assert "Away" in other.reason


def test_the_sponsor_signs_gate_1_whatever_the_role(cast: Any) -> None:
    assert not signing.may_sign(user=cast.data_scientist, kind="gate_1").allowed
    cast.ours.sponsor = cast.data_scientist
    cast.ours.save(update_fields=["sponsor"])
    verdict = signing.may_sign(user=cast.data_scientist, kind="gate_1")
    assert verdict.allowed
    assert verdict.role == "Sponsor"
    assert not signing.may_sign(user=cast.data_scientist, kind="gate_3", site=cast.home).allowed


def test_an_inactive_account_and_an_unknown_kind_are_refused(cast: Any) -> None:
    cast.plant_manager.is_active = False
    assert not signing.may_sign(user=cast.plant_manager, kind="gate_1").allowed
    assert not signing.may_sign(user=cast.coe_lead, kind="gate_9").allowed


def test_the_verdict_is_cheap(cast: Any, django_assert_max_num_queries: Any) -> None:
    appoint(cast.safety_officer)
    certify(cast.safety_officer)
    grant_role(cast.safety_officer, "safety_officer", cast.away)
    with django_assert_max_num_queries(3):
        assert signing.may_sign(user=cast.safety_officer, kind="rollout", site=cast.away).allowed
