"""The portal's settings with the peer's address beside its own."""

from portal.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.listing.urls"
