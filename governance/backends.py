"""Where a training runs and where a model version is released to. edge_bridge fills this in; governance only asks."""

from __future__ import annotations

from typing import Any, Protocol

from portal.core.errors import DomainError


class ReleaseBackend(Protocol):
    """Brings an approved version to the machines of an adoption."""

    def release(
        self,
        *,
        actor: Any,
        version: Any,
        adoption: Any,
        incident: Any = None,
        retraining: Any = None,
        fast_forward: bool = False,
    ) -> Any:
        """Start bringing ``version`` to the adoption's gateways; returns the rollout. With ``fast_forward`` it is installed at once
        (history being replayed at speed: there is no gateway to wait for)."""

    def live_version(self, *, adoption: Any, model: Any) -> Any:
        """The version of ``model`` that runs on most gateways of the adoption now, or None."""

    def start_url(self, *, version: Any, adoption: Any) -> str:
        """The page on which a person starts bringing ``version`` to the adoption's gateways."""


_release: ReleaseBackend | None = None


def register_release(backend: ReleaseBackend) -> None:
    global _release
    _release = backend


def release_backend() -> ReleaseBackend:
    if _release is None:
        raise DomainError("no_release_backend", "Nothing is set up that could bring a model version to a machine.")
    return _release
