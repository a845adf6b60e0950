from django.apps import AppConfig


class EdgeBridgeConfig(AppConfig):
    name = "edge_bridge"

    def ready(self) -> None:
        from edge_bridge.receivers import version_withdrawn as withdrawn
        from edge_bridge.rollouts import EdgeRelease
        from governance.backends import register_release
        from governance.signals import version_withdrawn

        register_release(EdgeRelease())
        version_withdrawn.connect(withdrawn, dispatch_uid="edge_bridge.version_withdrawn")
