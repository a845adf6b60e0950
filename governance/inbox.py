"""The inbox row: the commit point of everything a gateway sends. Part of the models of governance; import it from there."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models import Device
from governance import choices


class InboxMessage(models.Model):
    """The commit point of everything a gateway sends: unique on gateway, stream and sequence. Compacted into the lake later."""

    id = models.BigAutoField(primary_key=True)
    gateway = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="inbox")
    stream = models.CharField(max_length=160)
    sequence = models.BigIntegerField()
    kind = models.CharField(max_length=10, choices=choices.StreamKind.choices)
    payload = models.BinaryField()
    rows = models.PositiveIntegerField(default=0)
    plant_from = models.DateTimeField(null=True)
    plant_to = models.DateTimeField(null=True)
    sha256 = models.CharField(max_length=64)
    received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True)
    compacted_in = models.BigIntegerField(_("Delta version"), null=True)

    objects = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gateway", "stream", "sequence"], name="inbox_once")]
        indexes = [
            models.Index(fields=["processed_at", "id"], name="inbox_unprocessed"),
            models.Index(fields=["compacted_in", "id"], name="inbox_uncompacted"),
        ]

    def __str__(self) -> str:
        return f"{self.gateway_id} {self.stream} {self.sequence}"
