"""The contract of the event streams as outsiders read it, as a document, as a page, and served."""

from shared.asyncapi.document import asyncapi
from shared.asyncapi.page import asyncapi_html, router

__all__ = ["asyncapi", "asyncapi_html", "router"]
