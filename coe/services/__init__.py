"""Verbs of the CoE. Other apps sign through ``portal.core.signing`` and never call these."""

from coe.services.actions import action_close, action_create, action_delete, action_reopen, action_update
from coe.services.deputies import MANAGE as MANAGE_PEOPLE
from coe.services.deputies import deputy_name, deputy_revoke
from coe.services.learning import (
    attempt_allowed_at,
    attempt_record,
    certificate_revoke,
    content_sync,
    roles_sync,
    tracks_load,
)
from coe.services.people import appointment_create, appointment_end
from coe.services.reminders import remind
from coe.services.retrospectives import (
    months_due,
    retrospective_announce,
    retrospective_hold,
    retrospective_prepare,
    retrospective_update,
    retrospectives_prepare_all,
)
from coe.services.reviews import (
    first_quarter_of,
    measurable,
    portfolio_owner,
    roi_move_budget,
    roi_review_announce,
    roi_review_hold,
    roi_review_prepare,
    roi_reviews_prepare_all,
    suggested_move,
)

__all__ = [
    "MANAGE_PEOPLE",
    "action_close",
    "action_create",
    "action_delete",
    "action_reopen",
    "action_update",
    "appointment_create",
    "appointment_end",
    "attempt_allowed_at",
    "attempt_record",
    "certificate_revoke",
    "content_sync",
    "deputy_name",
    "deputy_revoke",
    "first_quarter_of",
    "measurable",
    "months_due",
    "portfolio_owner",
    "remind",
    "retrospective_announce",
    "retrospective_hold",
    "retrospective_prepare",
    "retrospective_update",
    "retrospectives_prepare_all",
    "roi_move_budget",
    "roi_review_announce",
    "roi_review_hold",
    "roi_review_prepare",
    "roi_reviews_prepare_all",
    "roles_sync",
    "suggested_move",
    "tracks_load",
]
