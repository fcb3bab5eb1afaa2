"""`python -m services.notifications api|worker`"""

from services.notifications.service import SERVICE
from shared.runtime.main import main

main(SERVICE)
