"""One router for /api/v1: each app registers its resources in its ``api/urls.py``."""

from rest_framework.routers import SimpleRouter


class Router(SimpleRouter):
    """No trailing slashes, as api.md writes the addresses."""

    def __init__(self) -> None:
        super().__init__(trailing_slash=False)
