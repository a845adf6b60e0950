"""Outside ends, each behind a probe: ``probe() -> Probe``. The connections page shows what the newest probe of each said."""

from edge_bridge.connectors.base import Probe
from edge_bridge.connectors.probes import PROBES

__all__ = ["PROBES", "Probe"]
