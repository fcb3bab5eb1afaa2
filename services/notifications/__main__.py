"""`python -m services.notifications api|worker`"""

from services.notifications.app import SERVICE, create_api, create_worker
from services.notifications.settings import NotificationsSettings
from shared.runtime.main import main

main(SERVICE, NotificationsSettings, create_api, create_worker)
