"""What lower apps tell edge_bridge. Receivers only enqueue."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def version_withdrawn(sender: Any, version: Any, **kwargs: Any) -> None:
    from edge_bridge.tasks import version_take_back

    def send() -> None:
        try:
            version_take_back.apply_async(args=[str(version.pk)], retry=False)
        except (OSError, OperationalError) as error:
            # The schedule looks for withdrawn versions in force as well, so nothing is lost with the broker.
            log.warning("receivers.broker_away", version=str(version.pk), error=str(error))

    transaction.on_commit(send, robust=True)
