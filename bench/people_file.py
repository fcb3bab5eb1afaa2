"""An HR export of any size, the same in every run: people in a tree of units, each reporting to somebody."""

import random
from collections.abc import Iterator
from pathlib import Path

_HEADER = (
    "Employee ID,Legal First Name,Legal Last Name,User Name,Work Email,Business Title,Supervisory Organization,"
    "Manager Employee ID,Worker Status,Preferred Language,Time Zone"
)
_TEAM = 40  # people of one unit, the first of whom the others report to
_FIRST = ("Johan", "Åsa", "Fatima", "Björn", "Elin", "Mikael", "Sara", "Oskar", "Ingrid", "Ali", "Märta", "Per")
_LAST = ("Andersson", "Öberg", "Nilsson", "Hassan", "Lindqvist", "Berg", "Sjöström", "Åkesson", "Karlsson", "Ek")
_TITLES = ("Undersköterska", "Lärare", "Planarkitekt", "Socialsekreterare", "Ingenjör", "Handläggare", "Barnskötare")


def write(file: Path, people: int, *, changed: float = 0.0) -> None:
    """Write the export of `people` people; `changed` is the share of them who have another title than without it."""
    with file.open("w", encoding="utf-8") as out:
        out.write(f"{_HEADER}\n")
        out.writelines(_rows(people, changed))


def _rows(people: int, changed: float) -> Iterator[str]:
    draw = random.Random(2026)
    for nth in range(people):
        first, last, title = draw.choice(_FIRST), draw.choice(_LAST), draw.choice(_TITLES)
        if draw.random() < changed:
            title = f"Samordnande {title}"
        team = nth // _TEAM
        manager = team * _TEAM if nth % _TEAM else team // 10 * _TEAM  # of a team's first: that of the team above
        unit = f"Region Norr - Förvaltning {team // 400} - Område {team // 20} - Enhet {team}"
        login = f"p{nth:06}"
        yield (
            f"{nth:06},{first},{last},{login},{login}@region.example.org,{title},{unit},"
            f"{f'{manager:06}' if manager != nth else ''},Active,Swedish,Europe/Stockholm\n"
        )
