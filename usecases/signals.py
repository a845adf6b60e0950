"""What usecases tells the apps above it. Sent inside the service's transaction; receivers only enqueue. Listed in docs/signals.md."""

from django.dispatch import Signal

# gate=Gate, review=GateReview
gate_decided = Signal()
# gate=Gate, reason=str
gate_reopened = Signal()
