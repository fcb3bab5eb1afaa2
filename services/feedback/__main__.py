"""`python -m services.feedback api|worker`"""

from services.feedback.service import SERVICE
from shared.runtime.main import main

main(SERVICE)
