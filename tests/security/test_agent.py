"""The gateway's secret goes over no wire in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_bridge import wire
from edge_bridge.agent import cli
from edge_bridge.agent.identity import Identity, check_broker, open_state_dir, save_identity


def enrolled(folder: Path, **broker: Any) -> Path:
    open_state_dir(folder)
    access = wire.MqttAccess(**({"port": 1883, "tls": False} | broker))
    keys = {"portal-1": bytes(32)}
    save_identity(folder, Identity("https://portal.example", "g", "s", "Gateway", "s" * 43, keys, access))
    return folder


def test_a_broker_without_tls_is_not_given_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reached(*_args: Any, **_named: Any) -> None:
        pytest.fail("the agent must not connect")

    monkeypatch.setattr(cli, "MqttTransport", reached)
    folder = enrolled(tmp_path / "state", host="broker.example")
    assert cli.main(["run", "--state-dir", str(folder)]) == cli.USAGE
    assert "mqtts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("broker", "allowed"),
    [
        ({"host": "broker.example", "port": 8883, "tls": True}, False),
        ({"host": "127.0.0.1", "port": 1883, "tls": False}, False),
        ({"host": "broker.example", "port": 1883, "tls": False}, True),
    ],
)
def test_tls_this_machine_and_what_was_allowed_pass(broker: dict[str, Any], allowed: bool) -> None:
    check_broker(wire.MqttAccess(**broker), allow_http=allowed)
