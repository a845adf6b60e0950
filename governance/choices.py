from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class ModelKind(TextChoices):
    SOFT_SENSOR = "soft_sensor", _("Soft sensor")
    ANOMALY = "anomaly", _("Anomaly detector")
    FAULT = "fault", _("Fault detector")


class VersionState(TextChoices):
    CANDIDATE = "candidate", _("Candidate")
    REFUSED = "refused", _("Refused: does not beat the incumbent")
    APPROVED = "approved", _("Signed")
    LIVE = "live", _("Live")
    SUPERSEDED = "superseded", _("Superseded")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class Quantisation(TextChoices):
    FP32 = "fp32", _("32-bit float")
    INT8 = "int8", _("8-bit integer")
    NOT_APPLICABLE = "not_applicable", _("Not applicable")


class StageKind(TextChoices):
    SOURCE = "source", _("Source")
    WINDOW = "window", _("Windowing")
    FEATURES = "features", _("Model input")
    PREDICTION = "prediction", _("Prediction")
    LABEL = "label", _("Label")


class StreamKind(TextChoices):
    TELEMETRY = "telemetry", _("Telemetry")
    INFERENCE = "inference", _("Inference")
    LABELS = "labels", _("Labels")
    HEALTH = "health", _("Heartbeat")
    EVENT = "event", _("Event")


class CheckKind(TextChoices):
    SCHEMA = "schema", _("Schema")
    STALENESS = "staleness", _("Staleness")
    RANGE = "range", _("Range")


class CheckState(TextChoices):
    PASSED = "passed", _("Passed")
    FAILED = "failed", _("Failed")
    SKIPPED = "skipped", _("Not applicable")


class DriftKind(TextChoices):
    FEATURE = "feature", _("Inputs")
    LABEL = "label", _("Label")
    CONCEPT = "concept", _("Concept (error)")
    RESIDUAL = "residual", _("Residual (streaming)")


class SloKind(TextChoices):
    UPTIME = "uptime", _("Edge inference uptime")
    ALERT_TO_RETRAIN = "alert_to_retrain", _("Alert to retrain")


class AlertKind(TextChoices):
    CONCEPT = "concept", _("Error window above its limit")
    RESIDUAL = "residual", _("Error rising, row by row")
    ANOMALY = "anomaly", _("Machine behaves unlike its healthy self")
    CHECK = "check", _("Checks fail")


class AlertState(TextChoices):
    OPEN = "open", _("Open")
    CLOSED = "closed", _("Closed")


class IncidentState(TextChoices):
    OPEN = "open", _("Open")
    MITIGATING = "mitigating", _("Being repaired")
    RESOLVED = "resolved", _("Resolved")


class RetrainingState(TextChoices):
    QUEUED = "queued", _("Queued")
    TRAINING = "training", _("Training")
    CHECKING = "checking", _("Checking against the incumbent")
    REGISTERING = "registering", _("Registering")
    RELEASING = "releasing", _("Rolling out")
    LIVE = "live", _("Live")
    REFUSED = "refused", _("Challenger refused")
    FAILED = "failed", _("Failed")


class RetrainingTrigger(TextChoices):
    ALERT = "alert", _("An alert")
    REHEARSAL = "rehearsal", _("A rehearsal by hand")
