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
    yield Curve("30 deliveries from the head of a queue, by its length", list(by_worker))
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
        ours = Ours(ground, f"queue-{count}", rule(ground, host="127.0.0.4", ssh_port=port, retries=5))
        seed = ground.random_file(ground.memory / "seed", 24)
        # What is measured, and behind it as many as the length says.
        some, real = 30, 100
        filling.queued(ours, seed, real + count, real)
        status = ours.words("status")
        answer = least(lambda: spawn(*status), 5)
        ground.empty(ground.far)
        ground.sshd(["127.0.0.4"], port)
        host = ground.started[-1]
        worker = ground.start(*ours.words("worker"))
        began = until_there(ground, 5)
        took = until_there(ground, 5 + some) - began
        for process in (worker, host):
            ground.end(process)
        ours.forget()
        yield (count, answer), (count, took)


def until_there(ground, count):
    """When so many had arrived."""
    until(f"{count} packages", lambda: sum(name[0] != "." for name in os.listdir(ground.far)) >= count, 300, 0.001)
    return time.perf_counter()


def rules(ground):
    for count in [10, 100, 1000, 10_000] if ground.is_quick else [10, 100, 1000, 10_000, 100_000]:
        section = "host = 127.0.0.1\nlogin = l\ndest_dir = /in\n"
        patterns = [f"product{number % 1000:03}-[a-z]+-{number // 1000}\\.(tar|rpm)$" for number in range(count - 1)]
        ours = Ours(ground, f"rules-{count}", "".join(f"[{one}]\n{section}" for one in [*patterns, "app-.*\\.tar$"]))
        if '"rule":"app-' not in ours.call("explain", "--json", "app-1.0.tar"):
            raise Failure("explain finds another rule")
        yield count, statistics.median(spawn(*ours.words("explain", "app-1.0.tar")) for _ in range(7))
