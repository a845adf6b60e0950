"""The message types of the wire, version 1: see the package for the words used."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

VERSION = 1
CONTENT_TYPE = "application/msgpack"
HTTP_PREFIX = "/edge/v1/"
TOPIC_PREFIX = "phasegate/v1"

MAX_ENVELOPE_BYTES = 256 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_ENVELOPES = 64
MAX_STATE_BYTES = 512 * 1024
MAX_ROWS = 1024
MAX_COLUMNS = 256
MAX_ARTEFACT_BYTES = 256 * 1024 * 1024

GOOD, MISSING, LOW, HIGH, UNCERTAIN = range(5)
QUALITY_NAMES = ("good", "missing", "low", "high", "uncertain")

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
StreamName = Annotated[str, Meta(min_length=1, max_length=160, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(max_length=2000)]
Short = Annotated[str, Meta(max_length=200)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=2**53)]
Millis = Annotated[int, Meta(ge=-(2**53), le=2**53)]


class WireError(Exception):
    """A message that cannot be taken. `code` is one of `too_large`, `malformed`, `invalid`, `unsupported_version`,
    `digest_mismatch`, `bad_length`; `message` says what and where, in one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all: immutable, keyword-only; unknown fields are ignored, so version 1 may grow."""


# ---- enrolment -------------------------------------------------------------------------------------------------------


class EnrolRequest(Message, frozen=True):
    """What an agent sends with its claim code. `secret` is made by the agent and becomes its bearer token, so that the
    same request may be repeated when the answer was lost."""

    claim_code: Annotated[str, Meta(min_length=4, max_length=64)]
    secret: Annotated[str, Meta(min_length=32, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
    version: int = VERSION
    agent_version: Short = ""
    hostname: Short = ""
    machine: Short = ""
    cpu_count: Count = 0
    memory_bytes: Count = 0


class MqttAccess(Message, frozen=True):
    """Broker address; the user name is the gateway id, the password the gateway's secret."""

    host: Name
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    tls: bool = True


class EnrolReply(Message, frozen=True):
    """`signing_keys` maps key id to a raw Ed25519 public key (32 bytes): pinned for good. `sequences` holds the highest
    sequence taken per stream, so that an agent that lost its disk goes on above it."""

    gateway: Id
    site: Id
    signing_keys: dict[Id, bytes]
    name: Short = ""
    sequences: dict[StreamName, Count] = {}
    mqtt: MqttAccess | None = None
    wall_ms: Millis = 0


# ---- desired state ---------------------------------------------------------------------------------------------------

RegisterType = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
REGISTER_WORDS = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}
FallbackKind = Literal["last_good", "bypass", "shutdown"]


class ChannelConfig(Message, frozen=True):
    """One measured signal. value = raw / divisor + offset, in `unit`. `address` is the word offset inside a row of the
    row block (mode `block`), or the holding register itself (mode `poll`). `low`..`high` is the plausible range."""

    name: Name
    address: Annotated[int, Meta(ge=0, le=65535)]
    type: RegisterType = "float64"
    divisor: float = 1.0
    offset: float = 0.0
    unit: Short = ""
    low: float | None = None
    high: float | None = None


class LabelConfig(Message, frozen=True):
    """The laboratory block: `name` of the label and its unit."""

    name: Name
    unit: Short = ""


class SourceConfig(Message, frozen=True):
    """One PLC. `slot` is this gateway's acknowledgement slot. A window closes at `window_rows` rows or after
    `window_ms` wall milliseconds. `controls_replay`: this gateway may pass `ReplayControl` on to the (replaying)
    PLC."""

    name: Id
    host: Name
    port: Annotated[int, Meta(ge=1, le=65535)] = 502
    device_id: Annotated[int, Meta(ge=0, le=255)] = 1
    slot: Annotated[int, Meta(ge=0, le=7)] = 0
    mode: Literal["block", "poll"] = "block"
    poll_ms: Annotated[int, Meta(ge=10, le=3_600_000)] = 250
    window_rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = 16
    window_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 1000
    schema: Positive = 1
    channels: Annotated[list[ChannelConfig], Meta(max_length=MAX_COLUMNS)] = []
    labels: LabelConfig | None = None
    controls_replay: bool = False


class ReplayJump(Message, frozen=True):
    """Go on at row `row` (0-based) of the replayed set; carried out once per `id`."""

    id: Id
    row: Count


class ReplayControl(Message, frozen=True):
    """For a replaying PLC only. `pace` is in rows per wall second, 0 = as fast as the rows are read."""

    source: Id
    pace: Annotated[float, Meta(ge=0.0, le=655.0)] | None = None
    paused: bool | None = None
    jump: ReplayJump | None = None


class Golden(Message, frozen=True, omit_defaults=False):
    """Rows of raw features (window x features flattened per row) and the outputs expected, |difference| <=
    `tolerance`."""

    inputs: list[list[float]]
    outputs: list[float]
    tolerance: float = 1e-4


class Manifest(Message, frozen=True, omit_defaults=False):
    """What is signed: everything that decides what a model version computes.

    `task`: `regression` and `score` take the first output as it is; `reconstruction` yields, per row, the mean over
    inputs of (output - input)^2 in scaled space. Inputs are `features` in this order; with `window` > 1 the last
    `window` rows, oldest first, flattened. `mean` and `scale` (one per feature, or empty): (x - mean) / scale is fed to
    the model as float32. `limits`: rows with a feature outside [low, high] or not finite are refused, never predicted.
    """

    model: Name
    model_version: Id
    sha256: Sha256
    size: Annotated[int, Meta(ge=1, le=MAX_ARTEFACT_BYTES)]
    task: Literal["regression", "score", "reconstruction"]
    features: Annotated[list[Name], Meta(min_length=1, max_length=MAX_COLUMNS)]
    output: Name = "prediction"
    unit: Short = ""
    window: Annotated[int, Meta(ge=1, le=512)] = 1
    mean: list[float] = []
    scale: list[float] = []
    limits: dict[Name, tuple[float, float]] = {}
    threshold: float | None = None
    golden: Golden | None = None


class Signature(Message, frozen=True):
    """Ed25519 over `manifest_bytes(manifest)`; `key` names one of the pinned keys."""

    key: Id
    value: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Installation(Message, frozen=True):
    """One model at one source of one gateway. `id` stays while versions change. `url` is absolute, or a path on the
    portal."""

    id: Id
    source: Id
    manifest: Manifest
    signature: Signature
    url: Annotated[str, Meta(min_length=1, max_length=1000)]
    fallback: FallbackKind = "last_good"
    role: Literal["active", "shadow"] = "active"
    canary: bool = False
    stopped: bool = False


class DesiredState(Message, frozen=True):
    """All that the portal wants of a gateway. `version` only grows and is the ETag. `stopped` stops every installation;
    a stop made at the gateway itself cannot be lifted from here."""

    version: Count
    sources: Annotated[list[SourceConfig], Meta(max_length=16)] = []
    installations: Annotated[list[Installation], Meta(max_length=64)] = []
    stopped: bool = False
    replay: list[ReplayControl] = []
    heartbeat_s: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    report_s: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    poll_s: Annotated[float, Meta(ge=0.2, le=3600)] = 5.0
    max_backlog_bytes: Annotated[int, Meta(ge=65536, le=2**40)] = 256 * 1024 * 1024


# ---- reported state --------------------------------------------------------------------------------------------------

InstallState = Literal["downloading", "installed", "active", "fallback", "bypassed", "shut_down", "failed"]
StopBy = Literal["", "local", "portal"]


class ErrorReport(Message, frozen=True):
    """One present trouble. `code` from the table in the protocol page; `since_ms` is wall time."""

    code: Id
    detail: Text = ""
    since_ms: Millis = 0


class InstallationReport(Message, frozen=True):
    """`running` is the model version that computes now ("" if none), `wanted` the one asked for, `last_good` the one
    kept."""

    id: Id
    state: InstallState
    wanted: Short = ""
    running: Short = ""
    last_good: Short = ""
    stopped_by: StopBy = ""
    activated_ms: Millis = 0
    rows: Count = 0
    refused: Count = 0
    error: ErrorReport | None = None


class SourceReport(Message, frozen=True):
    """How a source is doing. `row` is the last PLC row number stored for good; `remaining` rows are left of a
    replay."""

    name: Id
    connected: bool
    replay: Literal["", "running", "paused", "finished"] = ""
    simulated: bool = False
    run: Count = 0
    row: Count = 0
    plant_ms: Millis | None = None
    remaining: Count = 0
    position: Count = 0
    pace: float = 0.0
    rows_per_s: float = 0.0
    last_jump: Short = ""


class ReportedState(Message, frozen=True):
    """What a gateway says of itself. `clock_offset_ms` is portal minus gateway, from the Date header, or None."""

    gateway: Id
    desired_version: Count
    wall_ms: Millis
    boot: Id
    agent_version: Short = ""
    started_ms: Millis = 0
    stopped_locally: bool = False
    stop_reason: Text = ""
    installations: list[InstallationReport] = []
    sources: list[SourceReport] = []
    backlog_messages: Count = 0
    backlog_bytes: Count = 0
    oldest_ms: Millis | None = None
    refused_messages: Count = 0
    dropped_heartbeats: Count = 0
    disk_free_bytes: Count = 0
    memory_bytes: Count = 0
    cpu_seconds: float = 0.0
    clock_offset_ms: float | None = None
    transport: Literal["https", "mqtt"] = "https"
    errors: list[ErrorReport] = []


# ---- messages in envelopes -------------------------------------------------------------------------------------------


class PlantTimes(Message, frozen=True):
    """Plant time of n rows in ms: `start` and `step`, or `each` (int64 array) where the steps differ."""

    start: Millis
    step: Millis = 0
    each: bytes | None = None


class Telemetry(Message, frozen=True, tag="telemetry", tag_field="kind"):
    """Rows `first_row` .. `first_row + rows - 1` of the PLC's run `run`. `columns`: name -> float64 array of `rows`
    values (NaN = missing). `quality`: only columns in which a value is not good, uint8 per row."""

    source: Id
    schema: Positive
    run: Count
    epoch: Count
    first_row: Count
    rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)]
    times: PlantTimes
    columns: Annotated[dict[Name, bytes], Meta(min_length=1, max_length=MAX_COLUMNS)]
    quality: dict[Name, bytes] = {}
    replay: bool = False
    simulated: bool = False
    read_ms: Millis = 0


class RefusedRow(Message, frozen=True):
    """A row that no model was asked about: `reason` is `missing`, `low`, `high` or `failed`; `feature` and its
    `value`."""

    row: Count
    reason: Literal["missing", "low", "high", "failed"]
    feature: Short = ""
    value: float | None = None


class Inference(Message, frozen=True, tag="inference", tag_field="kind"):
    """Predictions for the same rows as the telemetry message `input_sequence` of `input_stream` (lineage). NaN where
    there is none: refused rows (counted in `refused`, the first 50 named in `refused_rows`) and, with a window,
    `warming` rows. The latency of one model call is in wall microseconds, `calls` calls. `fallback`: the last good
    version computed this."""

    source: Id
    installation: Id
    model_version: Id
    run: Count
    first_row: Count
    rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)]
    times: PlantTimes
    output: Name
    predictions: bytes
    input_stream: StreamName
    input_sequence: Positive
    latency_p50_us: float = 0.0
    latency_p99_us: float = 0.0
    calls: Count = 0
    refused: Count = 0
    warming: Count = 0
    refused_rows: Annotated[list[RefusedRow], Meta(max_length=50)] = []
    role: Literal["active", "shadow"] = "active"
    canary: bool = False
    fallback: bool = False


class Labels(Message, frozen=True, tag="labels", tag_field="kind"):
    """Late laboratory values: `row` int64 and `plant_ms` int64 name the rows measured, `values` float64."""

    source: Id
    name: Name
    run: Count
    rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)]
    row: bytes
    plant_ms: bytes
    values: bytes
    unit: Short = ""
    read_ms: Millis = 0


class InstallationPulse(Message, frozen=True):
    """One installation between two heartbeats: did it compute when it had to? `rows` predicted, `refused`, calls
    `failed`."""

    id: Id
    state: InstallState
    running: Short = ""
    rows: Count = 0
    refused: Count = 0
    failed: Count = 0


class Heartbeat(Message, frozen=True, tag="heartbeat", tag_field="kind"):
    """Life sign of `seconds` wall seconds, stored and forwarded, so that uptime is measured while the portal is
    away."""

    wall_ms: Millis
    seconds: float
    boot: Id
    installations: list[InstallationPulse] = []
    backlog_messages: Count = 0
    backlog_bytes: Count = 0
    memory_bytes: Count = 0
    rows: Count = 0


class Event(Message, frozen=True, tag="event", tag_field="kind"):
    """Something that happened once. `code` from the table in the protocol page, `data` small and flat."""

    wall_ms: Millis
    code: Id
    severity: Literal["info", "warning", "error"] = "info"
    source: Short = ""
    installation: Short = ""
    model_version: Short = ""
    detail: Text = ""
    data: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=20)] = {}


Body = Telemetry | Inference | Labels | Heartbeat | Event


class Envelope(Message, frozen=True, omit_defaults=False):
    """One message of one stream. Unique by (gateway, stream, sequence); the same triple always carries the same
    `digest`, which is the SHA-256 of `body` (msgpack of one `Body`)."""

    v: int
    gateway: Id
    stream: StreamName
    sequence: Positive
    wall_ms: Millis
    digest: Annotated[bytes, Meta(min_length=32, max_length=32)]
    body: bytes

    @property
    def key(self) -> tuple[str, str, int]:
        return self.gateway, self.stream, self.sequence


class Ack(Message, frozen=True):
    """The portal's answer to one envelope. `accepted` and `duplicate`: stored for good, forget it. `refused`: never
    send it again, `code` says why. `retry`: not stored, send it later."""

    stream: StreamName
    sequence: Positive
    status: Literal["accepted", "duplicate", "refused", "retry"]
    code: Short = ""
    message: Text = ""


class AckBatch(Message, frozen=True):
    """One `Ack` per envelope, any order. `desired_version` above the gateway's own means: fetch the desired state
    now."""

    acks: list[Ack]
    desired_version: Count = 0
