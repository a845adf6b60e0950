"""The demo: one foreground process that sets up a plant with real data, runs everything, and stops everything."""
