"""The table: what each operation costs at each size, and how much more at the largest than at the smallest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.growth.measure import Cost

AIM = 1.3
"""An operation is flat where it costs at most so many times as much."""


@dataclass(frozen=True)
class Row:
    """One operation: medians at each size, smallest first."""

    name: str
    buffers: tuple[float, ...]
    milliseconds: tuple[float, ...]
    cpu: tuple[float, ...]
    """Milliseconds of the server's CPU: on a machine with other work that is what compares."""

    @property
    def of_buffers(self) -> float:
        """How many times as many buffers at the largest size."""
        return self.buffers[-1] / max(self.buffers[0], 1)

    @property
    def of_cpu(self) -> float:
        """How many times as much of the server's CPU."""
        return self.cpu[-1] / max(self.cpu[0], 1e-9)

    @property
    def is_flat(self) -> bool:
        """By buffers: what else runs on the machine changes times, and no buffers."""
        return self.of_buffers <= AIM


def rows(costs: Sequence[Mapping[str, Cost]]) -> list[Row]:
    """A row for each operation that was measured at every size."""
    names = [name for name in costs[0] if all(name in cost for cost in costs)]
    found = []
    for name in names:
        middles = [cost[name].middle() for cost in costs]
        found.append(Row(name, *(tuple(one[part] for one in middles) for part in range(3))))
    return found


def table(found: Sequence[Row], messages: Sequence[int]) -> list[str]:
    """As Markdown."""
    sizes = [f"{number:,}" for number in messages]
    heads = ["operation", *(f"buffers at {size}" for size in sizes)]
    heads += ["ratio", *(f"CPU ms at {size}" for size in sizes), "ratio", ""]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in found:
        cells = [row.name, *(f"{number:,.0f}" for number in row.buffers), f"{row.of_buffers:.2f}"]
        cells += [*(f"{number:.1f}" for number in row.cpu), f"{row.of_cpu:.2f}"]
        cells.append("" if row.is_flat else "grows")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def spread(costs: Mapping[str, Cost]) -> list[str]:
    """One size alone: medians, and the least time, which other work on the machine disturbed least."""
    lines = ["| operation | CPU ms | ms | ms, least | buffers |", "|---|---|---|---|---|"]
    for name, cost in costs.items():
        buffers, milliseconds, cpu = cost.middle()
        least = min(cost.milliseconds)
        lines.append(f"| {name} | {cpu:.1f} | {milliseconds:.1f} | {least:.1f} | {buffers:,.0f} |")
    return lines
