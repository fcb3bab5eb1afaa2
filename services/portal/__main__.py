"""`python -m services.portal api|worker`"""

from services.portal.app import SERVICE, create_api, create_worker
from services.portal.settings import PortalSettings
from shared.runtime.main import main

main(SERVICE, PortalSettings, create_api, create_worker)
