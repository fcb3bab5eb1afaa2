"""The enrolment service: everything it is made of stands on this page."""

from pathlib import Path

from fastapi import FastAPI

from services.enrolment.access import api as access
from services.enrolment.approvals import api as approvals
from services.enrolment.approvals import pages as approval_pages
from services.enrolment.cohorts import api as cohorts
from services.enrolment.cohorts import pages as cohort_pages
from services.enrolment.enrolments import api as enrolments
from services.enrolment.enrolments import handlers as enrolment_handlers
from services.enrolment.imports import api as imports
from services.enrolment.imports import handlers as import_handlers
from services.enrolment.imports.pages import reports as import_pages
from services.enrolment.imports.pages import sending as sending_pages
from services.enrolment.me import pages as my_pages
from services.enrolment.milestones import api as milestones
from services.enrolment.people import api as people
from services.enrolment.places import api as places
from services.enrolment.places import pages as place_pages
from services.enrolment.programmes import api as programmes
from services.enrolment.programmes import pages as programme_pages
from services.enrolment.register import pages as register_pages
from services.enrolment.settings import EnrolmentSettings
from services.enrolment.sign_ins import api as sign_ins
from services.enrolment.sign_ins import handlers as sign_in_handlers
from services.enrolment.sign_ins import pages as sign_in_pages
from shared.directory import handlers as directory
from shared.http.app import Api
from shared.runtime.declaration import DeclaredService


def _prepare(app: FastAPI, _: EnrolmentSettings) -> None:
    app.state.first_sign_in = sign_in_pages.first_sign_in


SERVICE = DeclaredService(
    name="enrolment",
    folder=Path(__file__).parent,
    settings=EnrolmentSettings,
    api=Api(
        title="Medled enrolment",
        description="People, programmes, cohorts, enrolments and milestones.",
        routers=[
            people.router,
            imports.router,
            access.router,
            sign_ins.router,
            sign_ins.me,
            sign_in_pages.router,
            programmes.router,
            cohorts.router,
            places.router,
            enrolments.router,
            milestones.router,
            approvals.router,
            my_pages.router,
            approval_pages.router,
            programme_pages.router,
            cohort_pages.router,
            place_pages.router,
            register_pages.router,
            sending_pages.router,
            import_pages.router,
        ],
        prepare=_prepare,
    ),
    handlers=[*directory.session_handlers(), *enrolment_handlers.handlers()],
    timers={**enrolment_handlers.timers(), **import_handlers.timers(), **sign_in_handlers.timers()},
)
