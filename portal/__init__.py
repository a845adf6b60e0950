"""The project package. Celery's application is imported here so that shared tasks find it."""

from portal.celery import app as celery_app

__all__ = ["celery_app"]
