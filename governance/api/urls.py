"""Registered on the one router of /api/v1."""

from typing import Any

from governance.api import series, views


def register(router: Any) -> None:
    router.register("models", views.ModelViewSet, "model")
    router.register("model-versions", views.ModelVersionViewSet, "model-version")
    router.register("pipelines", views.PipelineViewSet, "pipeline")
    router.register("datasets", views.DatasetViewSet, "dataset")
    router.register("batches", views.BatchViewSet, "batch")
    router.register("checks", views.CheckViewSet, "check")
    router.register("check-results", views.CheckResultViewSet, "check-result")
    router.register("drift-reports", views.DriftReportViewSet, "drift-report")
    router.register("slos", views.SloViewSet, "slo")
    router.register("alerts", views.AlertViewSet, "alert")
    router.register("incidents", views.IncidentViewSet, "incident")
    router.register("retrainings", views.RetrainingViewSet, "retraining")
    router.register("readings", series.ReadingsViewSet, "reading")
    router.register("predictions", series.PredictionsViewSet, "prediction")
