"""What the marketplace does when a lower app tells it something: enqueue, nothing else."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def on_gate_reopened(sender: Any, *, gate: Any, reason: str, **_: Any) -> None:
    args = [str(gate.pk), gate.version, reason]
    transaction.on_commit(lambda: _send(args), robust=True)


def _send(args: list[Any]) -> None:
    from marketplace.tasks import announce_watch

    # The watch itself is read from the gates; only the line in the inbox is lost with a broker that is away.
    try:
        announce_watch.apply_async(args=args, retry=False)
    except (OSError, OperationalError) as error:
        log.warning("marketplace.broker_away", gate=args[0], error=str(error))
