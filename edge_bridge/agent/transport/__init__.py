"""Ways to the portal behind one `Transport`: HTTPS always, MQTT 5 for messages where the enrolment gave a broker."""

from edge_bridge.agent.transport.base import Failed, Transport
from edge_bridge.agent.transport.https import HttpsTransport, enrol
from edge_bridge.agent.transport.mqtt import MqttTransport

__all__ = ["Failed", "HttpsTransport", "MqttTransport", "Transport", "enrol"]
