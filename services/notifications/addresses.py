"""Mail addresses, as an envelope takes them."""

import re

# Quoted local parts and address literals are legal, but no HR platform has them, and their characters bend envelopes.
_ENVELOPE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")


class AddressError(ValueError):
    """An address cannot be written into an envelope."""


def envelope_address(address: str) -> str:
    """The address as SMTP takes it, its domain in ASCII. Raises AddressError without repeating the address."""
    local, _, domain = address.strip().rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise AddressError("the domain has no ASCII form") from None
    if not _ENVELOPE.fullmatch(f"{local}@{ascii_domain}"):
        raise AddressError("not an address that every mail server takes")
    return f"{local}@{ascii_domain}"
