"""The one table: a row a figure, with its spread, its bar and its ratio to a yardstick of the run."""

import dataclasses
import json
import math
import statistics

HEADER = ["name", "value", "unit", "bar", "ratio", "spread", "met"]


@dataclasses.dataclass
class Bar:
    """At most (`<=`) or at least (`>=`) a number, plus so many times the row's yardstick."""

    sense: str
    number: float
    times: float = 0

    def limit(self, yardstick):
        """The number in this run; None when the yardstick was not measured."""
        if not self.times:
            return self.number
        return None if yardstick is None else self.times * yardstick + self.number

    def holds(self, row, yardstick):
        """Whether the row meets it, at the median of its runs; None when nobody can say."""
        if self.limit(yardstick) is None or not row.values:
            return None
        beside = row.beside or [yardstick] * len(row.values)
        over = statistics.median(value - self.limit(other)
                                 for value, other in zip(row.values, beside, strict=True))
        return over <= 0 if self.sense == "<=" else over >= 0


@dataclasses.dataclass
class Row:
    """A figure: one value a run, and beside each the yardstick of that moment where there is one."""

    name: str
    unit: str
    values: list
    yardstick: str = ""
    beside: list = dataclasses.field(default_factory=list)

    @property
    def value(self):
        return statistics.median(self.values) if self.values else math.nan

    @property
    def spread(self):
        if len(self.values) < 2:
            return ""
        return f"{number(min(self.values))} .. {number(max(self.values))} ({len(self.values)})"


class Table:
    """The rows in the order in which they were measured; told to `listener` as they come."""

    def __init__(self, bars=None, yardsticks=None, listener=None):
        self.bars = bars or {}
        self.yardsticks = yardsticks or {}
        self.rows = {}
        self.listener = listener

    def add(self, name, unit, values, yardstick="", beside=()):
        """One figure; `values` has one value a run, `beside` its yardstick just before each."""
        values = values if isinstance(values, list) else [values]
        self.put(Row(name, unit, values, yardstick, list(beside)))

    def put(self, row):
        """One figure."""
        self.rows[row.name] = row
        if self.listener:
            self.listener(row)

    def add_line(self, line):
        """A figure as our bench program prints it, tab separated: name, unit, values, and where there
        is one the yardstick with its values."""
        name, unit, values, *beside = line.split("\t")
        yardstick, beside = beside or ("", "")
        self.add(name, unit, floats(values), yardstick, floats(beside))
        return name

    def yardstick(self, row):
        """(its name, its value): taken beside the row, else of the whole run."""
        if row.beside:
            return row.yardstick, statistics.median(row.beside)
        other = self.rows.get(self.yardsticks.get(row.name, ""))
        return (other.name, other.value) if other else ("", None)

    def met(self, row):
        """Whether the row's bar is met; None when it has none."""
        bar = self.bars.get(row.name)
        return bar.holds(row, self.yardstick(row)[1]) if bar else None

    def ratio(self, row):
        """To the yardstick: the median of the ratios where it was taken beside each value."""
        name, value = self.yardstick(row)
        if not value:
            return ""
        ratios = [one / other for one, other in zip(row.values, row.beside, strict=False) if other]
        return f"{number(statistics.median(ratios or [row.value / value]))} x {name}"

    def cells(self, row):
        """What stands in the row of the table."""
        bar = self.bars.get(row.name)
        limit = bar and bar.limit(self.yardstick(row)[1])
        return [row.name, number(row.value), row.unit,
                "" if limit is None else f"{bar.sense} {number(limit)}", self.ratio(row), row.spread,
                {None: "", True: "yes", False: "NO"}[self.met(row)]]

    def text(self):
        """For people."""
        table = [HEADER, *map(self.cells, self.rows.values())]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
                 for cells in table]
        return "\n".join(line.rstrip() for line in lines)

    def tsv(self):
        """For programs."""
        table = [HEADER, *map(self.cells, self.rows.values())]
        return "".join("\t".join(cells) + "\n" for cells in table)

    def summary(self):
        """How many bars there are, and which were missed."""
        with_bar = [row for row in self.rows.values() if row.name in self.bars]
        missed = [row.name for row in with_bar if self.met(row) is False]
        lines = [f"{len(with_bar)} rows with a bar, {len(missed)} missed"]
        return "\n".join(lines + [f"  missed: {name}" for name in missed])


def floats(text):
    return [float(value) for value in text.split()]


def number(value):
    """Three digits that matter, no more."""
    if math.isnan(value):
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def dump(row):
    """A row as one line of JSON."""
    return json.dumps(dataclasses.asdict(row))


def load(line):
    """The row again."""
    return Row(**json.loads(line))
