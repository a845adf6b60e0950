"""Background work of use cases: gates are read again and again, and at once after something that matters."""

from celery import shared_task

from usecases.services import gates, reminders


@shared_task(name="usecases.measure_gates", soft_time_limit=110, time_limit=120)
def measure_gates() -> dict[str, int]:
    return gates.gates_measure()


@shared_task(name="usecases.measure_gate_now", soft_time_limit=110, time_limit=120)
def measure_gate_now(gate_ids: list[str]) -> dict[str, int]:
    return gates.gates_measure(ids=gate_ids)


@shared_task(name="usecases.remind_gates", soft_time_limit=110, time_limit=120)
def remind_gates() -> dict[str, int]:
    return reminders.gates_remind()
