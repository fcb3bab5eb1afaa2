"""Every state, kind and reason has words in both languages."""

from services.notifications.channels.domain import Reason, ServerFault, Status
from services.notifications.kinds.every import KINDS
from services.notifications.service import SERVICE
from shared.web.render import Web


def test_every_code_that_a_page_can_show_is_explained() -> None:
    texts = Web(SERVICE.page_folders).texts
    for prefix, codes in (
        ("status", [status.value for status in Status]),
        ("kind", list(KINDS)),
        ("code.delivery_reason", [reason.value for reason in Reason]),
        ("mail_server", [fault.value for fault in ServerFault]),
    ):
        assert [code for code in codes if f"{prefix}.{code}" not in texts] == []
