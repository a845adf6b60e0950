"""Verbs of the CoE. Other apps sign through ``portal.core.signing`` and never call these."""

from coe.services.learning import (
    attempt_allowed_at,
    attempt_record,
    certificate_revoke,
    content_sync,
    roles_sync,
    tracks_load,
)
from coe.services.people import appointment_create, appointment_end

__all__ = [
    "appointment_create",
    "appointment_end",
    "attempt_allowed_at",
    "attempt_record",
    "certificate_revoke",
    "content_sync",
    "roles_sync",
    "tracks_load",
]
