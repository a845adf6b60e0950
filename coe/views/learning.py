"""Tracks with their lessons, the quiz, its result."""

from __future__ import annotations

import secrets
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from coe import selectors, services
from coe.forms import QuizForm
from coe.models import Certificate, QuizAttempt, Track
from coe.tables import certificate_words
from portal.core.access import get_permitted
from portal.core.clock import wall_now
from portal.core.pages import FormPage, Page


def _crumb() -> tuple[str, str]:
    return (_("Upskilling"), reverse("coe:tracks"))


class TracksPage(Page):
    title = gettext_lazy("Upskilling")

    def get(self, request: HttpRequest) -> HttpResponse:
        now = wall_now()
        mine: dict[Any, Certificate] = {}
        for certificate in Certificate.objects.filter(user=self.request.user).order_by("valid_until"):
            known = mine.get(certificate.role_id)
            if known is None or selectors.certificate_valid(certificate, now):
                mine[certificate.role_id] = certificate
        tracks = Track.objects.permitted(request.user).select_related("role").annotate(asked=Count("questions"))
        rows = [
            {
                "track": track,
                "certificate": mine.get(track.role_id),
                "state": certificate_words(mine[track.role_id]) if track.role_id in mine else None,
            }
            for track in tracks
        ]
        return self.render("coe/tracks.html", {"rows": rows})


class TrackPage(Page):
    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_crumb(), (_("Track"), "")]

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        track = get_permitted(Track.objects.select_related("role"), request.user, pk)
        attempts = list(QuizAttempt.objects.filter(user=self.request.user, track=track)[:10])
        certificates = list(
            Certificate.objects.filter(user=self.request.user, role=track.role).order_by("-valid_until")[:5]
        )
        lessons = [{"title": lesson["title"], "paragraphs": lesson["text"].split("\n\n")} for lesson in track.lessons]
        return self.render(
            "coe/track.html",
            {
                "title": track.title,
                "subtitle": track.summary,
                "track": track,
                "lessons": lessons,
                "question_count": track.questions.count(),
                "attempts": attempts,
                "certificates": [{"row": c, "state": certificate_words(c)} for c in certificates],
                "retry_at": services.attempt_allowed_at(user=request.user, track=track, now=wall_now()),
            },
        )


class QuizPage(FormPage):
    """One form with every question. The order of the choices is drawn per attempt and kept in the session."""

    template = "coe/quiz.html"
    submit_label = gettext_lazy("Hand in")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_crumb(), (_("Quiz"), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Track:
        found: Track = get_permitted(Track.objects.select_related("role"), self.request.user, pk)
        return found

    def _key(self, track: Track) -> str:
        return f"quiz:{track.pk}"

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        track = self.load(**kwargs)
        if services.attempt_allowed_at(user=request.user, track=track, now=wall_now()) is not None:
            return HttpResponseRedirect(track.get_absolute_url())
        request.session[self._key(track)] = secrets.randbelow(2**31)
        return self.show(track, self.get_form(track))

    def get_form(self, obj: Track, data: Any = None, files: Any = None) -> QuizForm:
        seed = self.request.session.get(self._key(obj), 0)
        return QuizForm(list(obj.questions.all()), seed, data)

    def more(self, obj: Track) -> dict[str, Any]:
        return {"title": _("Quiz: %(track)s") % {"track": obj.title}, "track": obj}

    def save(self, obj: Track, form: QuizForm) -> str:
        attempt = services.attempt_record(actor=self.request.user, track=obj, answers=form.answers())
        self.request.session.pop(self._key(obj), None)
        return attempt.get_absolute_url()


class AttemptPage(Page):
    title = gettext_lazy("Result")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_crumb(), (str(self.title), "")]

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        attempt = get_permitted(QuizAttempt.objects.select_related("track__role", "user"), request.user, pk)
        rows = []
        for question in attempt.track.questions.all():
            chosen = attempt.answers.get(str(question.pk))
            if chosen is None or chosen >= len(question.choices):
                continue
            rows.append(
                {
                    "question": question,
                    "right": chosen == question.right,
                    "chosen": question.choices[chosen],
                    "answer": question.choices[question.right],
                }
            )
        return self.render(
            "coe/attempt.html",
            {
                "attempt": attempt,
                "track": attempt.track,
                "title": _("Passed") if attempt.passed else _("Not passed yet"),
                "subtitle": attempt.track.title,
                "rows": rows,
                "right_count": sum(row["right"] for row in rows),
                "of_unit": _("of %(n)s") % {"n": len(rows)},
                "certificate": Certificate.objects.filter(attempt=attempt).first(),
                "retry_at": services.attempt_allowed_at(user=attempt.user, track=attempt.track, now=wall_now()),
            },
        )
