"""Command line of the agent: enrol, run, stop, resume, status."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_bridge import wire
from edge_bridge.agent import VERSION
from edge_bridge.agent.clock import Backoff
from edge_bridge.agent.identity import (
    Identity,
    Settings,
    SetupError,
    check_broker,
    check_portal,
    hold_lock,
    load_identity,
    open_state_dir,
    pending_secret,
    read_settings,
    runs,
    save_identity,
)
from edge_bridge.agent.runner import Runner, read_status
from edge_bridge.agent.stopping import ALL, StopFile
from edge_bridge.agent.store import Store
from edge_bridge.agent.transport import Failed, HttpsTransport, MqttTransport, Transport, enrol

log = logging.getLogger("phasegate.agent")
OK, FAILED, USAGE, REFUSED = 0, 1, 2, 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="phasegate-agent", description="Phasegate gateway agent")
    made.add_argument("--version", action="version", version=VERSION)
    commands = made.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, help="TOML file: state_dir, portal, claim_code or claim_code_file, ca, allow_http"
    )
    common.add_argument("--state-dir", help="where the agent keeps everything")
    portal = argparse.ArgumentParser(add_help=False)
    portal.add_argument("--portal", help="address of the portal, https://...")
    portal.add_argument("--claim-code", help="the code shown when the gateway was created in the portal")
    portal.add_argument("--ca", help="PEM file of a private certificate authority")
    portal.add_argument("--allow-http", action="store_true", default=None, help="permit http on a private network")
    commands.add_parser("enrol", parents=[common, portal], help="exchange a claim code for this gateway's identity")
    commands.add_parser("run", parents=[common, portal], help="work; enrols first if it must and has a claim code")
    stop = commands.add_parser("stop", parents=[common], help="stop inference on this machine, portal or not")
    stop.add_argument("--installation", help="only this installation (all)")
    stop.add_argument("--reason", default="", help="why, for the record")
    resume = commands.add_parser("resume", parents=[common], help="lift a stop made on this machine")
    resume.add_argument("--installation", help="only this installation (all)")
    for command in (stop, resume):
        command.add_argument("--wait", type=float, default=5.0, help="seconds to wait for the running agent (5)")
    commands.add_parser("status", parents=[common], help="what the agent says of itself, as JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. 0 well, 1 failed, 2 wrong usage or set-up, 3 refused by the portal for good."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s agent %(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    given = parser().parse_args(arguments)
    keys = ("state_dir", "portal", "claim_code", "ca", "allow_http")
    try:
        settings = read_settings(given.config, {key: getattr(given, key, None) for key in keys})
        open_state_dir(settings.state_dir)
        if given.command == "enrol":
            return _enrol_once(settings)
        if given.command == "run":
            return _run(settings)
        if given.command == "status":
            return _status(settings.state_dir)
        return _stop_or_resume(settings.state_dir, given)
    except SetupError as error:
        _err(str(error))
        return USAGE
    except sqlite3.DatabaseError as error:
        _err(f"the store in {settings.state_dir} cannot be used: {error}")
        return FAILED


# ---- enrolment -------------------------------------------------------------------------------------------------------


def _enrol_once(settings: Settings) -> int:
    if load_identity(settings.state_dir) is not None:
        raise SetupError(f"{settings.state_dir} is enrolled already; use another state directory for another gateway")
    try:
        identity = _enrol(settings)
    except Failed as failure:
        _err(f"not enrolled: {failure.message} ({failure.code})")
        return REFUSED if failure.permanent else FAILED
    _out(f"enrolled as {identity.name or identity.gateway} at site {identity.site}")
    return OK


def _enrol(settings: Settings) -> Identity:
    if not settings.portal or not settings.claim_code:
        raise SetupError("not enrolled: give the portal's address and a claim code")
    check_portal(settings.portal, allow_http=settings.allow_http)
    secret = pending_secret(settings.state_dir, settings.claim_code)
    try:
        request = wire.EnrolRequest(
            claim_code=settings.claim_code,
            secret=secret,
            agent_version=VERSION,
            hostname=platform.node()[:200],
            machine=f"{platform.system()} {platform.machine()}"[:200],
            cpu_count=os.cpu_count() or 0,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        )
        reply = enrol(settings.portal, request, ca=settings.ca)
    except wire.WireError as error:
        raise Failed("invalid", error.message, permanent=True) from error
    if not reply.signing_keys or any(len(key) != 32 for key in reply.signing_keys.values()):
        raise Failed("bad_answer", "the portal sent no usable signing key", permanent=True)
    identity = Identity(
        portal=settings.portal,
        gateway=reply.gateway,
        site=reply.site,
        name=reply.name,
        secret=secret,
        signing_keys=reply.signing_keys,
        mqtt=reply.mqtt,
        ca=settings.ca,
    )
    store = Store(settings.state_dir / "store.db", reply.gateway)
    store.raise_sequences(reply.sequences)
    store.close()
    save_identity(settings.state_dir, identity)
    (settings.state_dir / "enrolment.json").unlink(missing_ok=True)
    return identity


# ---- run -------------------------------------------------------------------------------------------------------------


def _run(settings: Settings) -> int:
    asked = threading.Event()
    ending: list[Callable[[], None]] = [asked.set]

    def on_signal(number: int, frame: object) -> None:
        for end in ending:
            end()

    lock = hold_lock(settings.state_dir)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        identity = load_identity(settings.state_dir)
        backoff = Backoff(0.5, 30.0)
        while identity is None:
            try:
                identity = _enrol(settings)
            except Failed as failure:
                if failure.permanent:
                    _err(f"not enrolled: {failure.message} ({failure.code})")
                    return REFUSED
                wait = backoff.next(failure.wait)
                log.warning("not enrolled yet, again in %.1f s: %s", wait, failure)
                if asked.wait(wait):
                    return OK
        if settings.portal and settings.portal != identity.portal:
            log.info("the portal is at %s now, it was at %s", settings.portal, identity.portal)
            identity = replace(identity, portal=settings.portal)
        if identity.mqtt is not None:
            check_broker(identity.mqtt, allow_http=settings.allow_http)
        try:
            transport = _transport(identity)
        except Failed as failure:
            raise SetupError(failure.message) from failure
        runner = Runner(settings.state_dir, identity, transport)
        ending.append(runner.end)
        if asked.is_set():
            runner.end()
        log.info("gateway %s serves %s over %s", identity.gateway, identity.portal, transport.name)
        return runner.run()
    finally:
        lock.close()


def _transport(identity: Identity) -> Transport:
    files = HttpsTransport(identity.portal, identity.secret, ca=identity.ca)
    return MqttTransport(identity, files) if identity.mqtt is not None else files


# ---- stop, resume, status --------------------------------------------------------------------------------------------


def _stop_or_resume(state_dir: Path, given: argparse.Namespace) -> int:
    file = StopFile(state_dir)
    if given.command == "stop":
        file.stop(given.installation, given.reason)
    else:
        try:
            file.resume(given.installation)
        except KeyError:
            _err(f"{given.installation} is not stopped by itself; resume without --installation lifts every stop")
            return FAILED
    if not runs(state_dir):
        _out("noted; no agent runs on this machine now, it will find this when it starts")
        return OK
    wanted = given.installation or ALL
    until = time.monotonic() + given.wait
    pause = threading.Event()
    while time.monotonic() < until:
        status = read_status(state_dir) or {}
        places = [p for p in status.get("installations", []) if wanted in (ALL, p["id"])]
        stopping = given.command == "stop"
        settled = all((p.get("stopped_by", "") == "local") == stopping for p in places)
        if settled and status.get("stopped_locally", False) == bool(file.read()):
            for place in places:
                _out(
                    f"{place['id']}: {place['state']}" + (f", {place['running']} runs" if place.get("running") else "")
                )
            _out("stopped" if stopping else "resumed")
            return OK
        pause.wait(0.1)
    _err("noted, but the running agent has not confirmed it yet")
    return FAILED


def _status(state_dir: Path) -> int:
    status = read_status(state_dir)
    identity = load_identity(state_dir)
    local = StopFile(state_dir).read()
    _out(
        json.dumps(
            {
                "running": runs(state_dir),
                "enrolled": identity is not None,
                "gateway": identity.gateway if identity else None,
                "portal": identity.portal if identity else None,
                "stopped_locally": dict(local.reasons),
                "last_status": status,
            },
            indent=1,
        )
    )
    return OK


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")


def _err(text: str) -> None:
    sys.stderr.write(text + "\n")
