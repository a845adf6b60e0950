"""The verbs of devices. Plain records go through ``portal.core.records``; what has rules is here."""

from devices.services.enrolment import credential_check, credential_revoke, enrolment_claim, enrolment_create
from devices.services.live import predictions_record, signals_record
from devices.services.registry import device_register, device_set_state, device_update, location_update
from devices.services.stopping import (
    machine_release,
    machine_released_locally,
    machine_stop,
    machine_stop_confirm,
    machine_stopped_locally,
)
from devices.services.twin import Report, device_report, device_reports, device_want, link_record

__all__ = [
    "Report",
    "credential_check",
    "credential_revoke",
    "device_register",
    "device_report",
    "device_reports",
    "device_set_state",
    "device_update",
    "device_want",
    "enrolment_claim",
    "enrolment_create",
    "link_record",
    "location_update",
    "machine_release",
    "machine_released_locally",
    "machine_stop",
    "machine_stop_confirm",
    "machine_stopped_locally",
    "predictions_record",
    "signals_record",
]
