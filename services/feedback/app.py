"""Feedback, wired: everything its two processes are made of."""

from typing import TYPE_CHECKING

from fastapi import FastAPI

from services.feedback.responses import api as responses_api
from services.feedback.responses import pages as responses_pages
from services.feedback.results import api as results_api
from services.feedback.results import handlers as results
from services.feedback.results import pages as results_pages
from services.feedback.rounds import handlers as rounds
from services.feedback.settings import FeedbackSettings
from shared.directory import handlers as directory
from shared.http.app import create_app
from shared.postgres.pool import Pool

if TYPE_CHECKING:
    from shared.runtime.worker import Worker

SERVICE = "feedback"


def create_api(settings: FeedbackSettings) -> FastAPI:
    """Answering and reading. It seals and cannot open: it needs neither of the two secrets."""
    return create_app(
        settings,
        service=SERVICE,
        title="Medled feedback",
        description="Rounds of feedback to co-leaders: answered once through a link, sealed until the round closes, "
        "shown to the person they are about alone. For development only, never for appraisal or pay.",
        routers=[responses_api.router, responses_pages.router, results_api.router, results_pages.router],
    )


def create_worker(settings: FeedbackSettings, pool: Pool) -> "Worker":
    """Opening, counting and closing. Raises ValueError when one of the two secrets is not set."""
    from shared.runtime.worker import Worker

    opening = rounds.RoundHandlers(
        settings.secrets, k=settings.feedback_k, rest=settings.rest, known_for=settings.known_for,
        count_every=settings.count_every, links_kept=settings.links_kept,
    )  # fmt: skip
    closing = results.Closing(settings.secrets, links_kept=settings.links_kept)
    return Worker(
        settings,
        pool,
        service=SERVICE,
        # The directory first: once it has waited for an opening under way, taking back finds what was issued there.
        handlers=[*directory.handlers(), *rounds.handlers(opening)],
        timers={**rounds.timers_of(opening), **results.timers_of(closing)},
    )
