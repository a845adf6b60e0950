"""What runs by itself, and how often (seconds of wall time). Each entry names a task by its registered name."""

SCHEDULE: dict[str, dict[str, object]] = {
    "core-sweep-jobs": {"task": "core.sweep_jobs", "schedule": 30.0},
    "governance-process": {"task": "governance.process_inbox", "schedule": 2.0, "options": {"expires": 5}},
    "governance-compact": {"task": "governance.compact", "schedule": 60.0, "options": {"expires": 60}},
    "governance-slos": {"task": "governance.record_slos", "schedule": 60.0, "options": {"expires": 60}},
    "governance-kpis": {"task": "governance.refresh_kpis", "schedule": 300.0, "options": {"expires": 300}},
    "usecases-measure-gates": {"task": "usecases.measure_gates", "schedule": 20.0, "options": {"expires": 20}},
    "usecases-remind": {"task": "usecases.remind_gates", "schedule": 3600.0, "options": {"expires": 3600}},
    "edge-rollouts": {"task": "edge_bridge.rollouts_advance", "schedule": 2.0, "options": {"expires": 10}},
    "edge-desired": {"task": "edge_bridge.refresh_desired", "schedule": 15.0, "options": {"expires": 15}},
    "edge-connections": {"task": "edge_bridge.check_connections", "schedule": 30.0, "options": {"expires": 30}},
    "coe-reviews": {"task": "coe.prepare_reviews", "schedule": 60.0, "options": {"expires": 60}},
    "coe-remind": {"task": "coe.remind", "schedule": 86_400.0},
    "marketplace-invoices": {"task": "marketplace.invoice_month", "schedule": 3600.0, "options": {"expires": 3600}},
    "core-prune": {"task": "core.prune", "schedule": 3600.0},
}
