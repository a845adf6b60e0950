"""Pure rules of devices: connectivity, twin differences, the ring of live rows, sparklines. No framework."""
