"""The services there are. Adding one adds its name here; what it is made of, its `service.py` declares (ADR 0012)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a command that needs only names starts quickly
    from shared.runtime.declaration import DeclaredService

SERVICES = ("enrolment", "feedback", "notifications", "portal")


def find_service(name: str) -> "DeclaredService[Any]":
    """What one of `SERVICES` declares of itself."""
    service: DeclaredService[Any] = import_module(f"services.{name}.service").SERVICE
    return service
