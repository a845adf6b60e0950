"""Reads of governance across relations, one module per page family."""
