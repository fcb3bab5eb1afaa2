"""One look for every service's pages: templates, styles, texts in Swedish and English, the session, the form guard."""

from shared.web.guard import form_guard
from shared.web.render import Web, render

__all__ = ["Web", "form_guard", "render"]
