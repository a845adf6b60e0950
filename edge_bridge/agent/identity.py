"""Who this gateway is: the files of the state directory that only its owner may read.

identity.json   gateway id, site, secret, pinned signing keys (mode 600)
agent.lock      held while the agent runs
stop.json       a stop made on this machine
status.json     what the running agent last said of itself
store.db        the store; models/ the model files
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from edge_bridge import wire

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SetupError(Exception):
    """The agent cannot start as it is set up; the text says what to change."""


@dataclass(frozen=True)
class Settings:
    """Where the agent lives and which portal it serves. `ca` is a PEM file for a private certificate authority."""

    state_dir: Path
    portal: str = ""
    claim_code: str = ""
    ca: Path | None = None
    allow_http: bool = False


@dataclass(frozen=True)
class Identity:
    """A gateway's enrolment. `signing_keys` maps key id to a raw Ed25519 public key."""

    portal: str
    gateway: str
    site: str
    name: str
    secret: str
    signing_keys: Mapping[str, bytes]
    mqtt: wire.MqttAccess | None = None
    ca: Path | None = None


def read_settings(config: Path | None, given: Mapping[str, Any]) -> Settings:
    """Settings from a TOML file, each value overridden by one that is given. Raises SetupError."""
    found: dict[str, Any] = {}
    if config is not None:
        try:
            found = tomllib.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise SetupError(f"cannot read {config}: {error.strerror}") from error
        except ValueError as error:
            raise SetupError(f"{config} is not valid TOML: {error}") from error
    unknown = set(found) - {"state_dir", "portal", "claim_code", "claim_code_file", "ca", "allow_http"}
    if unknown:
        raise SetupError(f"{config}: unknown setting {', '.join(sorted(unknown))}")
    found |= {key: value for key, value in given.items() if value is not None}
    code_file = found.pop("claim_code_file", None)
    if code_file and not found.get("claim_code"):
        try:
            found["claim_code"] = Path(code_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SetupError(f"cannot read the claim code in {code_file}: {error.strerror}") from error
    if not found.get("state_dir"):
        raise SetupError("no state directory: give --state-dir or state_dir in the configuration file")
    settings = Settings(
        state_dir=Path(found["state_dir"]),
        portal=str(found.get("portal", "")).rstrip("/"),
        claim_code=str(found.get("claim_code", "")),
        ca=Path(found["ca"]) if found.get("ca") else None,
        allow_http=bool(found.get("allow_http", False)),
    )
    if settings.portal:
        check_portal(settings.portal, allow_http=settings.allow_http)
    return settings


def check_portal(address: str, *, allow_http: bool) -> None:
    """SetupError unless `address` is https, or http to this machine, or http that was allowed in so many words."""
    parts = urlsplit(address)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise SetupError(f"{address} is no portal address; expected https://host[:port]")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not allow_http:
        raise SetupError(
            f"{address} would send the secret unencrypted; use https, or set allow_http on a private network"
        )


def check_broker(mqtt: wire.MqttAccess, *, allow_http: bool) -> None:
    """SetupError where the secret would go to a broker unencrypted, but to this machine or where that was allowed: it opens the portal
    as well."""
    if not mqtt.tls and mqtt.host not in LOOPBACK and not allow_http:
        raise SetupError(
            f"the portal named the broker {mqtt.host}:{mqtt.port} without TLS, which would send the secret unencrypted; "
            "have the portal name it with mqtts://, or set allow_http on a private network"
        )


def open_state_dir(path: Path) -> None:
    """Make the state directory, readable by its owner only."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "models").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot use the state directory {path}: {error.strerror}") from error


def hold_lock(state_dir: Path) -> IO[str]:
    """The lock of a running agent; SetupError if another one runs on this state directory. Close the file to let go."""
    file = (state_dir / "agent.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SetupError(f"an agent runs already on {state_dir}") from error
    return file


def runs(state_dir: Path) -> bool:
    """Whether an agent holds the lock now."""
    if not (state_dir / "agent.lock").exists():
        return False
    try:
        hold_lock(state_dir).close()
    except SetupError:
        return True
    return False


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably, mode 600."""
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load_identity(state_dir: Path) -> Identity | None:
    """The enrolment kept in the state directory, None if there is none. SetupError if the file is damaged."""
    path = state_dir / "identity.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Identity(
            portal=found["portal"],
            gateway=found["gateway"],
            site=found["site"],
            name=found["name"],
            secret=found["secret"],
            signing_keys={key: base64.b64decode(value) for key, value in found["signing_keys"].items()},
            mqtt=wire.MqttAccess(**found["mqtt"]) if found["mqtt"] else None,
            ca=Path(found["ca"]) if found["ca"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{path} is damaged ({error}); enrol again") from error


def save_identity(state_dir: Path, identity: Identity) -> None:
    mqtt = identity.mqtt
    write_private(
        state_dir / "identity.json",
        json.dumps(
            {
                "portal": identity.portal,
                "gateway": identity.gateway,
                "site": identity.site,
                "name": identity.name,
                "secret": identity.secret,
                "signing_keys": {key: base64.b64encode(value).decode() for key, value in identity.signing_keys.items()},
                "mqtt": {"host": mqtt.host, "port": mqtt.port, "tls": mqtt.tls} if mqtt else None,
                "ca": str(identity.ca) if identity.ca else None,
            },
            indent=1,
        ),
    )


def pending_secret(state_dir: Path, claim_code: str) -> str:
    """The secret for this claim code, made once and kept before it is sent, so that a lost answer costs nothing."""
    path = state_dir / "enrolment.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["claim_code"] == claim_code:
                return str(found["secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{path} is damaged ({error}); remove it and enrol with a new claim code") from error
    secret = secrets.token_urlsafe(32)
    write_private(path, json.dumps({"claim_code": claim_code, "secret": secret}))
    return secret
