"""The notifications service: everything it is made of stands on this page."""

from pathlib import Path

from services.notifications.channels import api as deliveries
from services.notifications.channels import pages as delivery_pages
from services.notifications.channels.mail.compose import Composer
from services.notifications.channels.mail.sender import MailSender, SenderSettings
from services.notifications.routing import handlers as routing
from services.notifications.settings import NotificationsSettings
from shared.clock import Clock
from shared.directory import handlers as directory
from shared.http.app import Api
from shared.postgres.pool import Pool
from shared.runtime.declaration import DeclaredService, Loop


def _sending(settings: NotificationsSettings, pool: Pool) -> Loop:
    return MailSender(pool, Composer.of(settings), SenderSettings.of(settings), Clock(settings.clock_file)).run


SERVICE = DeclaredService(
    name="notifications",
    folder=Path(__file__).parent,
    stands_on=[directory.MIGRATIONS],
    settings=NotificationsSettings,
    # The delivery log. It sends nothing: it needs neither mail server nor link secret.
    api=Api(
        title="Medled notifications",
        description="What became of every message: queued, sent, put off or given up, and why.",
        routers=[deliveries.router, delivery_pages.router],
    ),
    handlers=[*directory.handlers(), *routing.handlers()],
    timers=routing.timers(),
    loops=[_sending],
)
