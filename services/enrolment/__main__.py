"""`python -m services.enrolment api|worker`"""

from services.enrolment.app import SERVICE, create_api, create_worker
from services.enrolment.settings import EnrolmentSettings
from shared.runtime.main import main

main(SERVICE, EnrolmentSettings, create_api, create_worker)
