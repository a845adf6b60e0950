"""What governance tells the apps above it. Sent inside the service's transaction; receivers only enqueue. Listed in docs/signals.md."""

from django.dispatch import Signal

# incident=Incident
incident_opened = Signal()
incident_resolved = Signal()
# version=ModelVersion
version_withdrawn = Signal()
