"""Sides that do the same work, in turns: rounds in rotated order, medians, what is to be reached, and whether it is."""
import math
import statistics
import time


class Side:
    """Whoever does the work. `run` is timed, unless it returns seconds of its own; `before` and `after` are not: they make
    room, and see that the work was done."""

    def __init__(self, name, run, before=None, after=None):
        self.name, self.run, self.before, self.after = name, run, before, after

    def turn(self):
        if self.before:
            self.before()
        began = time.perf_counter()
        took = self.run()
        took = took if isinstance(took, float) else time.perf_counter() - began
        if self.after:
            self.after()
        return took


def race(sides, rounds, warm=1):
    """The seconds of each side in each round; the first rounds, which warm caches, do not count."""
    taken = {side.name: [] for side in sides}
    for number in range(-warm, rounds):
        turned = number % len(sides)
        for side in sides[turned:] + sides[:turned]:
            took = side.turn()
            if number >= 0:
                taken[side.name].append(took)
    return taken


class Ratio:
    """At most `limit` times what the peer takes."""

    def __init__(self, peer, limit):
        self.peer, self.limit = peer, limit
        self.text = f"≤ {limit} of {peer}"

    def judge(self, ours, peers):
        ratio = ours / peers[self.peer] if peers[self.peer] else math.inf
        return f"{ratio:.2f} of {self.peer}", ratio <= self.limit


class BestRatio(Ratio):
    """At most `limit` times what the best of some peers takes."""

    def __init__(self, chosen, limit, what):
        super().__init__(what, limit)
        self.chosen = chosen

    def judge(self, ours, peers):
        return super().judge(ours, {self.peer: min(peers[name] for name in self.chosen)})


class Above:
    """At most so much more than the peer takes."""

    def __init__(self, peer, limit, unit):
        self.peer, self.limit, self.unit = peer, limit, unit
        self.text = f"≤ {peer} + {show(limit, unit)}"

    def judge(self, ours, peers):
        more = ours - peers[self.peer]
        return f"{sign(more)}{show(abs(more), self.unit)} to {self.peer}", more <= self.limit


class AtMost:
    """A figure that no peer is asked about."""

    def __init__(self, limit, unit):
        self.limit, self.unit = limit, unit
        self.text = f"≤ {show(limit, unit)}"

    def judge(self, ours, _):
        return "", ours <= self.limit


def sign(number):
    return "+" if number >= 0 else "−"


def show(value, unit):
    if unit == "s" and value < 0.995:
        value, unit = value * 1000, "ms"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    if unit in ("CPU s/min",):
        digits = 3
    return f"{value:.{digits}f} {unit}"


class Row:
    """One line of the table: a figure of ours beside those of the peers. Samples are lists, or single figures."""

    def __init__(self, work, ours, peers, reach=(), unit="s", note=""):
        self.work, self.unit, self.note, self.reach = work, unit, note, list(reach)
        self.samples = {"ours": listed(ours), **{name: listed(taken) for name, taken in peers.items()}}
        self.ours = statistics.median(self.samples["ours"])
        self.peers = {name: statistics.median(listed(taken)) for name, taken in peers.items() if listed(taken)}
        usable = [one for one in self.reach if not hasattr(one, "peer") or one.peer in self.peers or hasattr(one, "chosen")]
        self.verdicts = [one.judge(self.ours, self.peers) for one in usable]

    @classmethod
    def of(cls, work, taken, reach=(), note="", ours="ours"):
        peers = {name: seconds for name, seconds in taken.items() if name != ours}
        return cls(work, taken[ours], peers, reach, note=note)

    @property
    def met(self):
        return all(ok for _, ok in self.verdicts) if self.verdicts else None

    def cells(self):
        peers = "; ".join(f"{name} {show(value, self.unit)}" for name, value in self.peers.items())
        ratios = "; ".join(text for text, _ in self.verdicts if text)
        if not ratios and self.peers and self.ours:
            name, best = min(self.peers.items(), key=lambda pair: pair[1])
            ratios = f"{self.ours / best:.2f} of {name}" if best else ""
        mark = {True: "yes", False: "**no**", None: ""}[self.met]
        work = f"{self.work} ({self.note})" if self.note else self.work
        return [work, show(self.ours, self.unit), peers, ratios, "; ".join(one.text for one in self.reach), mark]

    def record(self):
        return {
            "work": self.work, "note": self.note, "unit": self.unit, "ours": self.ours, "peers": self.peers,
            "to_reach": [one.text for one in self.reach], "ratios": [text for text, _ in self.verdicts], "met": self.met,
            "samples": self.samples,
        }


def listed(taken):
    return list(taken) if isinstance(taken, (list, tuple)) else [taken]


def table(rows):
    lines = ["| work | ours | peers | ratio | to reach | met |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def slope(points):
    """The exponent of a curve through (size, cost): least squares of their logarithms."""
    logs = [(math.log(size), math.log(cost)) for size, cost in points if size > 0 and cost > 0]
    return statistics.linear_regression(*zip(*logs)).slope if len(logs) > 1 else math.nan
