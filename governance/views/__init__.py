"""Pages of governance, one module per family."""
