"""Background work of use cases: gates are read again and again, and at once after something that matters."""

from celery import shared_task

from portal.core import jobs
from usecases import planning
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


@shared_task(name="usecases.portfolio_run", time_limit=1800)
def portfolio_run(job_id: str) -> None:
    """The job's first argument is the run's id."""
    with jobs.running(job_id) as running:
        if running is None:
            return
        run = planning.run_execute(run_id=running.job.args[0], step=running.step)
        jobs.job_set_result(running.job, {"run": str(run.pk), "url": run.get_absolute_url()})
