"""The enrolment service, put together: everything it is made of stands on this page."""

from fastapi import FastAPI

from services.enrolment.access import api as access
from services.enrolment.approvals import pages as approval_pages
from services.enrolment.cohorts import api as cohorts
from services.enrolment.cohorts import pages as cohort_pages
from services.enrolment.enrolments import api as enrolments
from services.enrolment.enrolments import pages as my_pages
from services.enrolment.errors import Refused
from services.enrolment.imports import api as imports
from services.enrolment.milestones import api as milestones
from services.enrolment.people import api as people
from services.enrolment.problems import on_refused
from services.enrolment.programmes import api as programmes
from services.enrolment.programmes import pages as programme_pages
from services.enrolment.settings import EnrolmentSettings
from shared.http import create_app


def create_api(settings: EnrolmentSettings) -> FastAPI:
    """The API and the pages, under /enrolment."""
    app = create_app(
        settings,
        service="enrolment",
        title="Medled enrolment",
        description="People, programmes, cohorts, enrolments and milestones.",
        routers=[
            people.router,
            imports.router,
            access.router,
            programmes.router,
            cohorts.router,
            enrolments.router,
            milestones.router,
            my_pages.router,
            approval_pages.router,
            programme_pages.router,
            cohort_pages.router,
        ],
    )
    app.add_exception_handler(Refused, on_refused)
    return app
