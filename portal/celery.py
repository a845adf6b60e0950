"""The Celery application. Tasks live in each app's tasks.py; the schedule in portal/schedule.py."""

import ctypes
import os
import signal
import sys

from celery import Celery
from celery.signals import beat_embedded_init, setup_logging

PR_SET_PDEATHSIG = 1

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("phasegate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Logging is structlog's, set up by portal.core; Celery must not replace it."""


@beat_embedded_init.connect
def _end_with_the_worker(**_: object) -> None:
    """The schedule embedded in a worker (``-B``) ends with it, however it ends: a killed worker's schedule would go on beside the next one's."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@app.on_after_finalize.connect
def _load_schedule(sender: Celery, **_: object) -> None:
    from portal.schedule import SCHEDULE

    sender.conf.beat_schedule = SCHEDULE
