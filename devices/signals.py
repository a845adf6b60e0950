"""What devices tells the apps above it. Sent inside the service's transaction; receivers only enqueue. Listed in docs/signals.md."""

from django.dispatch import Signal

# device=Device, stop=MachineStop
machine_stopped = Signal()
machine_released = Signal()
