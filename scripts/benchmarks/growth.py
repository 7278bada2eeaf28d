"""How costs grow: packages, hosts, queue, rules. A curve has a point for each size, and its slope is the exponent: 1 where
twice as much costs twice as much, 0 where it costs the same."""
import math
import os
import shutil
import statistics
import time

from . import fence, filling
from .ground import Failure, free_port, until
from .hosts import Park, install_command
from .local import spawn
from .many import assert_all, make_files
from .ours import Ours, rule
from .race import show, slope


# Deliveries that are waited for while others are queued behind them.
FIRST = 500


class Curve:
    """Seconds by size."""

    def __init__(self, what, points):
        self.what, self.points = what, points

    def record(self):
        return {"what": self.what, "points": self.points, "slope": slope(self.points), "slope_at_the_end": self.last()}

    def last(self):
        """The exponent over the last factor of ten at least, where what every run costs has no part any more."""
        end = self.points[-1][0]
        near = [point for point in self.points if point[0] * 10 >= end]
        return slope(near if len(near) > 1 else self.points[-2:])

    def line(self):
        shown = ", ".join(f"{size:,}: {show(seconds, 's')}" for size, seconds in self.points)
        return f"| {self.what} | {shown} | {number(slope(self.points))} | {number(self.last())} |"


def number(value):
    return "" if math.isnan(value) else f"{value:.2f}"


def table(curves):
    lines = ["| growth | points | slope | over the last factor of ten |", "|---|---|---|---|"]
    return "\n".join(lines + [curve.line() for curve in curves]) + "\n"


def growth(ground):
    yield Curve("packages of 1 KiB by one `send`, to all delivered", list(packages(ground)))
    if fence.is_private():
        yield Curve("hosts, a package of 100 KiB installed on each", list(hosts(ground)))
    by_status, by_worker = zip(*queue(ground))
    yield Curve("`status` by queued deliveries", list(by_status))
    yield Curve(f"a worker from its start to {FIRST:,} deliveries, by what is queued behind them", list(by_worker))
    yield Curve("`explain` of one name, by rules, the last matches", list(rules(ground)))


def least(run, times):
    """The best of some runs: what is looked for is a shape, and noise only adds."""
    return min(run() for _ in range(times))


def packages(ground):
    for count in [1, 10, 100, 1000] if ground.is_quick else [1, 10, 100, 1000, 3000, 10_000]:
        near = ground.directory(f"growth-{count}")
        files = make_files(ground, near, count, 1 << 10)
        ours = Ours(ground, f"packages-{count}", rule(ground))

        def run():
            ground.empty(ground.far)
            ours.forget()
            began = time.perf_counter()
            ours.send(*files)
            took = time.perf_counter() - began
            assert_all(ground, near, ground.far)
            return took

        yield count, least(run, 3 if count <= 1000 else 1)
        shutil.rmtree(near)


def hosts(ground):
    counts = [1, 5, 20] if ground.is_quick else [1, 2, 5, 10, 20, 50, 100, 200]
    park = Park(ground, counts[-1])
    (ground.memory / "growth-package").mkdir()
    file = ground.random_file(ground.memory / "growth-package/p", 100 << 10)
    for count in counts:
        keys = {"host": ", ".join(park.addresses[:count]), "ssh_port": park.port, "install_command": install_command(ground)}
        ours = Ours(ground, f"hosts-{count}", rule(ground, **keys))

        def run():
            park.empty()
            began = time.perf_counter()
            ours.send(file)
            took = time.perf_counter() - began
            park.check(file, count)
            return took

        yield count, least(run, 3)


def queue(ground):
    """Points of two curves for each length."""
    for count in [1, 100, 10_000] if ground.is_quick else [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]:
        port = free_port()
        ours = queued(ground, f"queue-{count}", port, count)
        # The first ones, which a worker is to deliver, are no part of the length: where they would be most of it, there is
        # another queue without them.
        alone = ours if count > 10 * FIRST else queued(ground, f"alone-{count}", port, count, 0)
        answer = least(lambda: spawn(*alone.words("status")), 5)
        ground.empty(ground.far)
        ground.sshd(["127.0.0.4"], port)
        host = ground.started[-1]
        began = time.perf_counter()
        worker = ground.start(*ours.words("worker"))
        until("the first packages", lambda: whole(ground.far) >= FIRST, 300, 0.002)
        took = time.perf_counter() - began
        for process in (worker, host):
            ground.end(process)
        ours.forget()
        yield (count, answer), (count, took)


def queued(ground, name, port, count, first=FIRST):
    """Ours with so many in a queue, and before them the first ones, for a host that is not up."""
    ours = Ours(ground, name, rule(ground, host="127.0.0.4", ssh_port=port, retries=5))
    seed = ground.random_file(ground.memory / "seed", 24)
    # More than the first ones lie in the spool, for what is taken together must not break at the end.
    filling.queued(ours, seed, first + count, first + min(count, first))
    return ours


def whole(directory):
    """How many have their names there."""
    return sum(name[0] != "." for name in os.listdir(directory))


def rules(ground):
    for count in [10, 100, 1000, 10_000] if ground.is_quick else [10, 100, 1000, 10_000, 100_000]:
        section = "host = 127.0.0.1\nlogin = l\ndest_dir = /in\n"
        patterns = [f"product{number % 1000:03}-[a-z]+-{number // 1000}\\.(tar|rpm)$" for number in range(count - 1)]
        ours = Ours(ground, f"rules-{count}", "".join(f"[{one}]\n{section}" for one in [*patterns, "app-.*\\.tar$"]))
        if '"rule":"app-' not in ours.call("explain", "--json", "app-1.0.tar"):
            raise Failure("explain finds another rule")
        yield count, statistics.median(spawn(*ours.words("explain", "app-1.0.tar")) for _ in range(7))
