"""`python -m services.enrolment api|worker`"""

from services.enrolment.service import SERVICE
from shared.runtime.main import main

main(SERVICE)
