"""The gateway agent: reads a PLC, computes models, stores and forwards. `python -m edge_bridge.agent --help`."""

VERSION = "0.1.0"
