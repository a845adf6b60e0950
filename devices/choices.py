from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class SiteKind(TextChoices):
    LIVE = "live", _("Live plant")
    REPLAY = "replay", _("Replay of real data")
    SIMULATED = "simulated", _("Simulated data")


class ReplayState(TextChoices):
    RUNNING = "running", _("Replay running")
    PAUSED = "paused", _("Replay paused")
    FINISHED = "finished", _("Replay finished")


class LocationLevel(TextChoices):
    """ISA-95 levels under a site."""

    AREA = "area", _("Area")
    LINE = "line", _("Line")
    CELL = "cell", _("Cell")


class DeviceKind(TextChoices):
    GATEWAY = "gateway", _("Gateway")
    PLC = "plc", _("PLC")
    SENSOR = "sensor", _("Sensor")
    CONTROLLER = "controller", _("Controller")


class Protocol(TextChoices):
    MODBUS_TCP = "modbus_tcp", _("Modbus TCP")
    OPC_UA = "opc_ua", _("OPC UA")
    MQTT = "mqtt", _("MQTT 5")
    HTTPS = "https", _("HTTPS")
    OTHER = "other", _("Other")


class DeviceState(TextChoices):
    PLANNED = "planned", _("Planned")
    ACTIVE = "active", _("Active")
    RETIRED = "retired", _("Retired")


class Connectivity(TextChoices):
    NEVER = "never", _("Never seen")
    ONLINE = "online", _("Online")
    LATE = "late", _("Late")
    OFFLINE = "offline", _("Offline")
    FINISHED = "finished", _("Replay finished")


class CredentialState(TextChoices):
    ACTIVE = "active", _("Active")
    REVOKED = "revoked", _("Revoked")


class Fallback(TextChoices):
    """What goes on when the models on a gateway are stopped (docs/edge-protocol.md)."""

    LAST_GOOD = "last_good", _("Last good version")
    BYPASS = "bypass", _("Bypass: no model")
    SHUTDOWN = "shutdown", _("Shutdown: no model, nothing is read")


class ChannelRole(TextChoices):
    SIGNAL = "signal", _("Signal")
    LABEL = "label", _("Label (laboratory)")
