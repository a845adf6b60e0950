from django.apps import AppConfig


class EdgeBridgeConfig(AppConfig):
    name = "edge_bridge"
