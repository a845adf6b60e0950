"""The Celery application of the tests' worker: the project's, and one slow job whose steps can be watched from outside."""

from __future__ import annotations

import os
import time
from pathlib import Path

import django

django.setup()

from celery import shared_task  # noqa: E402

from portal.celery import app  # noqa: E402, F401
from portal.core import jobs  # noqa: E402


@shared_task(name="tests.slow", time_limit=120)
def slow(job_id: str) -> None:
    """Says that it began; goes on only when the file ``go`` is there; adds one line to ``done`` when it ends."""
    folder = Path(os.environ["PHASEGATE_HOME"])
    with jobs.running(job_id) as work:
        if work is None:
            return
        (folder / "began").touch()
        deadline = time.monotonic() + 60
        while not (folder / "go").exists() and time.monotonic() < deadline:
            work.step("waiting")
            time.sleep(0.05)
        with (folder / "done").open("a") as file:
            file.write(f"{job_id}\n")
