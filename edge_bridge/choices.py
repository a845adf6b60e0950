from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class InstallationState(TextChoices):
    WANTED = "wanted", _("Wanted")
    ACTIVE = "active", _("Active")
    REFUSED = "refused", _("Refused by the gateway")
    REPLACED = "replaced", _("Replaced")
    ROLLED_BACK = "rolled_back", _("Rolled back")


class RolloutState(TextChoices):
    WAITING = "waiting", _("Waiting for a signature")
    RUNNING = "running", _("Running")
    SOAKING = "soaking", _("Canary under watch")
    SUCCEEDED = "succeeded", _("Succeeded")
    ROLLED_BACK = "rolled_back", _("Rolled back")
    STOPPED = "stopped", _("Stopped")


class WaveState(TextChoices):
    PENDING = "pending", _("Pending")
    RUNNING = "running", _("Installing")
    SOAKING = "soaking", _("Under watch")
    PASSED = "passed", _("Passed")
    FAILED = "failed", _("Failed")


class TargetState(TextChoices):
    PENDING = "pending", _("Pending")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    REFUSED = "refused", _("Refused")
    UNREACHED = "unreached", _("Not reached")


class ConnectionKind(TextChoices):
    GATEWAYS = "gateways", _("Gateways over HTTPS")
    MQTT = "mqtt", _("MQTT broker")
    REGISTRY = "registry", _("Model registry (MLflow)")
    LAKE = "lake", _("Data lake")
    BROKER = "broker", _("Task broker")


# How a state looks: the words of components/status.html.
TONES: dict[str, str] = {
    "wanted": "pending",
    "waiting": "pending",
    "replaced": "not_applicable",
    "rolled_back": "failed",
    "soaking": "watch",
    "unreached": "failed",
}


def tone(state: str) -> str:
    return TONES.get(state, state)
