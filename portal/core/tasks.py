"""Background work of the core."""

from datetime import timedelta
from smtplib import SMTPException

from celery import shared_task
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.mail import send_mail
from django.template.loader import render_to_string

from portal.core import audit, jobs, people
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.models import IdempotencyRecord, Notification, User


@shared_task(name="core.sweep_jobs", time_limit=60)
def sweep_jobs() -> dict[str, int]:
    return jobs.sweep()


@shared_task(name="core.prune", time_limit=300)
def prune() -> None:
    """Forget answers older than 24 hours and sessions that are over."""
    IdempotencyRecord.objects.filter(created_at__lt=wall_now() - timedelta(hours=24)).delete()
    Session.objects.filter(expire_date__lt=wall_now()).delete()


@shared_task(name="core.send_invitation", time_limit=60)
def send_invitation(job_id: str) -> None:
    """Send the link that sets a password. It is made here, so no link waits in the broker or in a job's row."""
    with jobs.running(job_id) as run:
        if run is None:
            return
        person = User.objects.filter(pk=run.job.args[0], is_active=True).first()
        if person is None or person.has_usable_password():
            return
        made = people.link_for(person)
        body = render_to_string("core/mail/invitation.txt", {"made": made, "by": run.job.created_by})
        try:
            send_mail("Your account in Phasegate", body, settings.DEFAULT_FROM_EMAIL, [person.email])
        except (OSError, SMTPException) as error:
            raise DomainError("mail", f"The mail server did not take it: {error}", {"temporary": True}) from error
        audit.record(actor=run.job.created_by, action="user.invite_sent", obj=person, changes={"to": person.email})


@shared_task(
    name="core.mail_lines",
    time_limit=120,
    autoretry_for=(OSError, SMTPException),
    retry_backoff=30,
    max_retries=5,
)
def mail_lines(ids: list[str]) -> int:
    """Mail these lines of inboxes to their people. A line is claimed before it goes, so running this again sends nothing twice."""
    sent = 0
    rows = Notification.objects.filter(pk__in=ids, mailed_at=None, user__is_active=True).select_related("user")
    for row in rows:
        if Notification.objects.filter(pk=row.pk, mailed_at=None).update(mailed_at=wall_now()) != 1:
            continue
        body = render_to_string("core/mail/line.txt", {"line": row, "site": settings.PUBLIC_URL.rstrip("/")})
        subject = f"Phasegate: {' '.join(row.text.split())[:120]}"
        try:
            send_mail(subject, body, settings.DEFAULT_FROM_EMAIL, [row.user.email])
        except (OSError, SMTPException):
            Notification.objects.filter(pk=row.pk).update(mailed_at=None)
            raise
        sent += 1
    return sent
