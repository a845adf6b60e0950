"""Addresses of the pages about trust."""

from django.urls import path

from governance.views import drift, incidents, models, pipelines, retrainings, setup, slos, trust

app_name = "governance"

urlpatterns = [
    path("trust/", trust.TrustPage.as_view(), name="trust"),
    path("models/", models.ModelList.as_view(), name="models"),
    path("models/new/", setup.ModelCreate.as_view(), name="model-create"),
    path("models/<uuid:pk>/", models.ModelPage.as_view(), name="model"),
    path("models/<uuid:pk>/edit/", setup.ModelEdit.as_view(), name="model-edit"),
    path("models/<uuid:pk>/pipelines/new/", setup.PipelineCreate.as_view(), name="pipeline-create"),
    path("models/<uuid:pk>/standing-approval/", models.StandingApprovalGrant.as_view(), name="model-approve"),
    path(
        "models/<uuid:pk>/standing-approval/revoke/",
        models.StandingApprovalRevoke.as_view(),
        name="model-approval-revoke",
    ),
    path("model-versions/<uuid:pk>/", models.VersionPage.as_view(), name="model-version"),
    path("model-versions/<uuid:pk>/sign/", models.VersionSign.as_view(), name="version-sign"),
    path("model-versions/<uuid:pk>/withdraw/", models.VersionWithdraw.as_view(), name="version-withdraw"),
    path("model-versions/<uuid:pk>/model.onnx", models.VersionFile.as_view(), name="version-file"),
    path("pipelines/", pipelines.PipelineList.as_view(), name="pipelines"),
    path("pipelines/<uuid:pk>/", pipelines.PipelinePage.as_view(), name="pipeline"),
    path("pipelines/<uuid:pk>/edit/", setup.PipelineEdit.as_view(), name="pipeline-edit"),
    path("pipelines/<uuid:pk>/commission/", setup.PipelineCommission.as_view(), name="pipeline-commission"),
    path("pipelines/<uuid:pk>/retrain/", setup.PipelineRetrain.as_view(), name="pipeline-retrain"),
    path("pipelines/<uuid:pk>/lineage.json", pipelines.PipelineLineage.as_view(), name="pipeline-lineage"),
    path("batches/", pipelines.BatchList.as_view(), name="batches"),
    path("batches/<uuid:pk>/", pipelines.BatchPage.as_view(), name="batch"),
    path("batches/<uuid:pk>/lineage.json", pipelines.BatchLineage.as_view(), name="batch-lineage"),
    path("checks/", pipelines.CheckList.as_view(), name="checks"),
    path("checks/<uuid:pk>/", pipelines.CheckPage.as_view(), name="check"),
    path("checks/<uuid:pk>/edit/", pipelines.CheckEdit.as_view(), name="check-edit"),
    path("drift/", drift.DriftList.as_view(), name="drift"),
    path("drift/<uuid:pk>/", drift.DriftReportPage.as_view(), name="drift-report"),
    path("drift/<uuid:pk>/distribution.json", drift.DriftDistribution.as_view(), name="drift-distribution"),
    path("slos/", slos.SloList.as_view(), name="slos"),
    path("slos/new/", slos.SloCreate.as_view(), name="slo-create"),
    path("slos/<uuid:pk>/", slos.SloPage.as_view(), name="slo"),
    path("slos/<uuid:pk>/edit/", slos.SloEdit.as_view(), name="slo-edit"),
    path("incidents/", incidents.IncidentList.as_view(), name="incidents"),
    path("incidents/<uuid:pk>/", incidents.IncidentPage.as_view(), name="incident"),
    path("incidents/<uuid:pk>/live/", incidents.IncidentLive.as_view(), name="incident-live"),
    path("incidents/<uuid:pk>/error.json", incidents.IncidentError.as_view(), name="incident-error"),
    path("incidents/<uuid:pk>/acknowledge/", incidents.IncidentAcknowledge.as_view(), name="incident-acknowledge"),
    path("retrainings/<uuid:pk>/", retrainings.RetrainingPage.as_view(), name="retraining"),
    path("retrainings/<uuid:pk>/live/", retrainings.RetrainingLive.as_view(), name="retraining-live"),
]
