"""The Celery application. Tasks live in each app's tasks.py; the schedule in portal/schedule.py."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("phasegate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Logging is structlog's, set up by portal.core; Celery must not replace it."""


@app.on_after_finalize.connect
def _load_schedule(sender: Celery, **_: object) -> None:
    from portal.schedule import SCHEDULE

    sender.conf.beat_schedule = SCHEDULE
