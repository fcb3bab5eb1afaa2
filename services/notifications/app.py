"""The notifications service, put together: everything it is made of stands on this page."""

from typing import TYPE_CHECKING

from fastapi import FastAPI

from services.notifications.channels import api as deliveries
from services.notifications.channels import pages as delivery_pages
from services.notifications.channels.mail.sender import MailSender
from services.notifications.routing import handlers as routing
from services.notifications.settings import NotificationsSettings
from shared.clock import Clock
from shared.directory import handlers as directory
from shared.http.app import create_app
from shared.postgres.pool import Pool

if TYPE_CHECKING:
    from shared.runtime.worker import Worker

SERVICE = "notifications"


def create_api(settings: NotificationsSettings) -> FastAPI:
    """The delivery log, under /notifications. It sends nothing: it needs neither mail server nor link secret."""
    return create_app(
        settings,
        service=SERVICE,
        title="Medled notifications",
        description="What became of every message: queued, sent, put off or given up, and why.",
        routers=[deliveries.router, delivery_pages.router],
    )


def create_worker(settings: NotificationsSettings, pool: Pool) -> "Worker":
    """Routing and sending. Raises ValueError, naming the setting that sending lacks."""
    from shared.runtime.worker import Worker

    sender = MailSender(pool, settings.composer(), settings.sender(), Clock(settings.clock_file))
    return Worker(
        settings,
        pool,
        service=SERVICE,
        handlers=[*directory.handlers(), *routing.handlers(message_id_domain=settings.message_id_domain)],
        timers={},
        loops=[sender.run],
    )
