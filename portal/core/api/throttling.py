"""One limit per token or, without a token, per user."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from portal.core.models import ApiToken


class PerClientThrottle(SimpleRateThrottle):
    """The generic cell rate algorithm (ITU-T I.371): one number per client, the time at which its allowance is whole again, where the
    framework's own throttle keeps, reads and writes the time of every request of the period."""

    scope = "client"
    num_requests: int
    duration: int
    wait_s = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        if self.rate is None:
            return True
        key = self.get_cache_key(request, view)
        if key is None:
            return True
        now = self.timer()
        each = self.duration / self.num_requests
        whole_at = max(self.cache.get(key, now), now)
        if whole_at + each - now > self.duration:
            self.wait_s = whole_at + each - now - self.duration
            return False
        self.cache.set(key, whole_at + each, self.duration)
        return True

    def wait(self) -> float:
        return self.wait_s

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        if isinstance(request.auth, ApiToken):
            return f"throttle:token:{request.auth.pk}"
        if request.user and request.user.is_authenticated:
            return f"throttle:user:{request.user.pk}"
        return f"throttle:ip:{self.get_ident(request)}"
