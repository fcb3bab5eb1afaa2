"""What the page and the API of answering take alike, and how they tell that a link is over."""

from typing import Annotated

from fastapi import Path

from services.feedback.responses.domain import LinkRefusal

MOST_BYTES = 64 * 1024  # anybody may send here, and answers are small

Token = Annotated[str, Path(max_length=200, description="The token at the end of the link in the invitation.")]


def status_of(reason: LinkRefusal) -> int:
    """404 for a link that never was (or is forgotten), 410 for one that is over."""
    return 404 if reason is LinkRefusal.unknown else 410
