"""The feedback service: everything its two processes are made of stands on this page."""

from pathlib import Path

from services.feedback.responses import api as responses_api
from services.feedback.responses import pages as responses_pages
from services.feedback.results import api as results_api
from services.feedback.results import pages as results_pages
from services.feedback.rounds import handlers as rounds
from services.feedback.settings import FeedbackSettings
from shared.directory import handlers as directory
from shared.http.app import Api
from shared.runtime.declaration import DeclaredService

SERVICE = DeclaredService(
    name="feedback",
    folder=Path(__file__).parent,
    stands_on=[directory.MIGRATIONS],
    settings=FeedbackSettings,
    # Answering and reading. It seals and cannot open: it needs neither of the two secrets.
    api=Api(
        title="Medled feedback",
        description="Rounds of feedback to co-leaders: answered once through a link, sealed until the round closes, "
        "shown to the person they are about alone. For development only, never for appraisal or pay.",
        routers=[responses_api.router, responses_pages.router, results_api.router, results_pages.router],
    ),
    # The directory first: once it has waited for an opening under way, taking back finds what was issued there.
    handlers=[*directory.handlers(), *rounds.handlers()],
    timers=rounds.timers(),
)
