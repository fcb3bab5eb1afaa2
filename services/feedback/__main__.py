"""`python -m services.feedback api|worker`"""

from services.feedback.app import SERVICE, create_api, create_worker
from services.feedback.settings import FeedbackSettings
from shared.runtime.main import main

main(SERVICE, FeedbackSettings, create_api, create_worker)
