import sys

from edge_bridge.agent.cli import main

sys.exit(main())
