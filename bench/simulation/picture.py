"""A picture of one world: what each sender delivers per day, and when receivers block it."""

from collections.abc import Iterable, Mapping
from math import log10
from xml.sax.saxutils import escape

from bench.simulation.parameters import DAY_S, World
from bench.simulation.run import History

WIDTH, LEFT, TOP, CHART, ROW = 1000, 190, 40, 360, 12
COLORS = ("#d62728", "#1f77b4", "#9467bd", "#ff7f0e", "#2ca02c", "#7f7f7f")
FONT = 'font-family="sans-serif" font-size="11"'


class Scale:
    """Days to the right, messages upwards by powers of ten."""

    def __init__(self, days: int, most: float) -> None:
        self.days, self.top = days, log10(max(most, 10))

    def x(self, day: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * day / self.days

    def y(self, messages: float) -> float:
        return TOP + CHART * (1 - log10(max(messages, 1)) / self.top)


def draw(histories: Mapping[str, History], world: World) -> str:
    """An SVG document."""
    first = next(iter(histories.values()))
    scale = Scale(len(first.demand), max(first.demand))
    rows = blocked_rows(histories, world)
    height = TOP + CHART + 60 + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(LEFT, 20, "Delivered per day by new sources; below, when receivers block them"),
        *draw_grid(scale),
        line([(d, m) for d, m in enumerate(first.demand)], scale, "#cccccc"),
        *draw_senders(histories, scale),
        *draw_blocks(rows, scale),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def text(x: float, y: float, words: str, *, color: str = "#333333", anchor: str = "start") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" fill="{color}" text-anchor="{anchor}"'
    return f"<text {place} {FONT}>{escape(words)}</text>"


def line(points: Iterable[tuple[int, float]], scale: Scale, color: str) -> str:
    path = " ".join(f"{scale.x(day):.1f},{scale.y(messages):.1f}" for day, messages in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def draw_grid(scale: Scale) -> Iterable[str]:
    for power in range(int(scale.top) + 1):
        y = scale.y(10**power)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - 20}" stroke="#eeeeee"/>'
        yield text(LEFT - 8, y + 4, f"{10**power:,}", anchor="end")
    for day in range(0, scale.days + 1, 10):
        yield text(scale.x(day), TOP + CHART + 18, str(day), anchor="middle")
    yield text(LEFT - 8, TOP + CHART + 18, "day", anchor="end")


def draw_senders(histories: Mapping[str, History], scale: Scale) -> Iterable[str]:
    for number, (name, history) in enumerate(histories.items()):
        color = COLORS[number % len(COLORS)]
        days = range(len(history.delivered))
        yield line([(day, history.delivered_on(day)) for day in days], scale, color)
        yield text(8, TOP + 16 * (number + 1), name, color=color)


Bar = tuple[float, float, bool]  # days from and to, and whether by the sender's own doing
Row = tuple[str, str, list[Bar]]  # sender, site, bars


def blocked_rows(histories: Mapping[str, History], world: World) -> list[Row]:
    rows = []
    for name, history in histories.items():
        for number, site in enumerate(world.sites):
            blocks = [
                b for cell, each in history.blocks.items() if cell.site == number for b in each
            ]
            bars = [(b.begins_s / DAY_S, b.ends_s / DAY_S, b.own_doing) for b in blocks]
            if bars:
                rows.append((name, site.name, bars))
    return rows


def draw_blocks(rows: list[Row], scale: Scale) -> Iterable[str]:
    for number, (name, site, bars) in enumerate(rows):
        y = TOP + CHART + 40 + ROW * number
        yield text(LEFT - 8, y + ROW - 2, f"{name} at {site}", anchor="end")
        for begin, end, own_doing in bars:
            x, width = scale.x(begin), max(scale.x(min(end, scale.days)) - scale.x(begin), 1)
            color = "#d62728" if own_doing else "#999999"
            size = f'width="{width:.1f}" height="{ROW - 2}"'
            yield f'<rect x="{x:.1f}" y="{y}" {size} fill="{color}"/>'
    yield text(
        LEFT,
        TOP + CHART + 55 + ROW * len(rows),
        "red: by its own doing; gray: the listing that hits all",
    )
