"""What every scene has at hand, and the waiting that several of them do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.demo.house import House, until
from deploy.demo.record import Record
from deploy.demo.sample import OPERATOR, Cast, Organisation
from deploy.stack import Stack


@dataclass(frozen=True)
class Stage:
    """One demo: the stack it runs on, its people, what was played so far, and a voice. `say` tells one line."""

    stack: Stack
    house: House
    organisation: Organisation
    cast: Cast
    record: Record
    say: Callable[[str], None]

    async def overview(self) -> dict[str, Any]:
        """The portal's figures, as anybody sees them."""
        figures: dict[str, Any] = await self.house.get(OPERATOR, "/portal/v1/overview")
        return figures

    async def mail_is_out(self) -> None:
        """Every mail that what was played calls for has been handed over."""
        expected = self.record.tally["mails"]

        async def look() -> bool:
            counts = await self.deliveries()
            return counts["sent"] >= expected and not counts["queued"] + counts["sending"]

        await until(f"{expected} mails were sent", look)

    async def deliveries(self) -> dict[str, int]:
        """How many messages stand in each status, by the delivery log."""
        summary = await self.house.get(OPERATOR, "/notifications/v1/deliveries/summary")
        return {each["status"]: each["messages"] for each in summary["counts"]}

    def time_passes(self, seconds: float) -> None:
        """Move the clock that all processes share to `seconds` after the demo's beginning; never back."""
        file = self.stack.clock_file
        before = float(file.read_text() or 0) if file.exists() else 0.0
        new = file.with_suffix(".new")
        new.write_text(str(max(before, seconds)))
        new.replace(file)
