"""`python -m services.portal api|worker`"""

from services.portal.service import SERVICE
from shared.runtime.main import main

main(SERVICE)
