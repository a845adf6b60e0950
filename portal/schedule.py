"""What runs by itself, and how often (seconds of wall time). Each entry names a task by its registered name."""

SCHEDULE: dict[str, dict[str, object]] = {
    "core-sweep-jobs": {"task": "core.sweep_jobs", "schedule": 30.0},
    "core-prune": {"task": "core.prune", "schedule": 3600.0},
}
