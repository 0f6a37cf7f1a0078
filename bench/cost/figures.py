"""The arithmetic: from rounds to medians, ratios to the floor of the same round, and a table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PARTS = ("program", "functions", "postgrest", "postgres", "model")


@dataclass(frozen=True)
class Cell:
    """One system at one number of chats in one round. Times to the first token in seconds, CPU in seconds a turn."""

    system: str
    chats: int
    round: int
    turns: int
    rate: float
    first_tokens: tuple[float, ...]
    direct_first_tokens: tuple[float, ...]
    cpu: Mapping[str, float]

    def added(self, percent: int) -> float:
        """What is added to the model's own time to its first token: the difference of the two percentiles."""
        return percentile(self.first_tokens, percent) - percentile(self.direct_first_tokens, percent)


@dataclass(frozen=True)
class Statements:
    """What one turn asks of Postgres: statements in all, and transactions."""

    statements: float
    transactions: float


@dataclass(frozen=True)
class Row:
    """One system at one number of chats, over all rounds: medians; rates with the least and the most."""

    system: str
    chats: int
    rate: float
    rate_least: float
    rate_most: float
    of_floor: float | None
    of_floor_least: float | None
    of_floor_most: float | None
    added_ms: float
    added_p95_ms: float
    cpu_ms: Mapping[str, float]
    statements: Statements | None


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile, by linear interpolation; not a number without values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def rows(cells: Sequence[Cell], statements: Mapping[str, Statements], floor: str) -> list[Row]:
    """One row for each system and number of chats, in the order in which they first appear."""
    floors = {(cell.chats, cell.round): cell.rate for cell in cells if cell.system == floor}
    found = []
    for chats in dict.fromkeys(cell.chats for cell in cells):
        for system in dict.fromkeys(cell.system for cell in cells):
            rounds = [cell for cell in cells if cell.system == system and cell.chats == chats]
            if not rounds:
                continue
            rates = [cell.rate for cell in rounds]
            ratios = [
                cell.rate / floors[chats, cell.round] for cell in rounds if floors.get((chats, cell.round), 0) > 0
            ]
            found.append(
                Row(
                    system=system,
                    chats=chats,
                    rate=statistics.median(rates),
                    rate_least=min(rates),
                    rate_most=max(rates),
                    of_floor=statistics.median(ratios) if ratios else None,
                    of_floor_least=min(ratios, default=None),
                    of_floor_most=max(ratios, default=None),
                    added_ms=statistics.median(cell.added(50) for cell in rounds) * 1000,
                    added_p95_ms=statistics.median(cell.added(95) for cell in rounds) * 1000,
                    cpu_ms={
                        part: statistics.median(cell.cpu.get(part, 0.0) for cell in rounds) * 1000 for part in PARTS
                    },
                    statements=statements.get(system),
                )
            )
    return found


def table(found: Sequence[Row]) -> list[str]:
    """The rows as a Markdown table that reads well in a terminal too."""
    head = [
        "chats", "system", "turns/s (least-most)", "of the floor (least-most)", "added to first token, ms p50 / p95",
        "statements / transactions", "CPU ms a turn: program", "server", "PostgREST", "Postgres", "model",
    ]  # fmt: skip
    body = [
        [
            str(row.chats),
            row.system,
            f"{row.rate:.0f} ({row.rate_least:.0f}-{row.rate_most:.0f})",
            "" if row.of_floor is None else f"{row.of_floor:.2f} ({row.of_floor_least:.2f}-{row.of_floor_most:.2f})",
            f"{row.added_ms:.1f} / {row.added_p95_ms:.1f}",
            "" if row.statements is None else f"{row.statements.statements:.1f} / {row.statements.transactions:.1f}",
            *(f"{row.cpu_ms[part]:.2f}" if row.cpu_ms[part] else "" for part in PARTS),
        ]
        for row in found
    ]
    return _aligned([head, *body])


def split(parts: Mapping[str, float]) -> list[str]:
    """CPU by part as a table, the largest first."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return _aligned(
        [["part", "ms"], *([name, f"{value:.2f}"] for name, value in [*ordered, ("together", sum(parts.values()))])]
    )


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    head, *body = cells
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
