"""``manage.py mqtt_bridge``: carry messages between the broker in MQTT_URL and the portal until it is told to end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from edge_bridge.connectors.mqtt import Broker, MqttUnreachable
from edge_bridge.mqtt import Bridge, PasswordFile


class Command(BaseCommand):
    help = "Carry messages between the MQTT broker and the portal. Several may run; they share the work."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--password-file", help="Keep this Mosquitto password file up to date with the enrolled gateways."
        )
        parser.add_argument(
            "--broker-pid-file", help="Send SIGHUP to the process named here after the password file changed."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.MQTT_URL:
            raise CommandError("MQTT_URL is not set: there is no broker to bridge. Gateways use HTTPS then.")
        try:
            broker = Broker.of(settings.MQTT_URL)
            passwords = None
            if options["password_file"]:
                pid = options["broker_pid_file"]
                own = ((broker.user, broker.password),) if broker.user else ()
                passwords = PasswordFile(Path(options["password_file"]), Path(pid) if pid else None, own)
            bridge = Bridge(broker, passwords=passwords)
        except MqttUnreachable as error:
            raise CommandError(str(error)) from error
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write(f"Bridge to {broker.host}:{broker.port}")
        bridge.run(stop)
