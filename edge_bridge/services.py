"""The verbs of edge_bridge that a person or another program may call."""

from edge_bridge.connections import check_all
from edge_bridge.desired import gateway_changed
from edge_bridge.rollouts import rollout_start, rollout_stop

__all__ = ["check_all", "gateway_changed", "rollout_start", "rollout_stop"]
