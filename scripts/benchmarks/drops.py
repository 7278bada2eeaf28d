"""Drop directories: what very many idle files cost, and how soon a file that was dropped is on its way."""
import os
import resource
import select
import subprocess
import time
from pathlib import Path

from . import filling
from .commits import KB
from .ground import PYTHON, Failure, until
from .ours import Ours, rule
from .race import AtMost, Ratio, Row, Side, race

# One turn of the Python script's loop over a drop directory, without its pauses.
OLD_LOOP = """
import os, sys
def directory_files(directory):
    results = []
    for root, dirs, files in os.walk(directory):
        full_paths = [os.path.join(root, f) for f in files]
        results.extend([f for f in full_paths if os.path.isfile(f)])
    return set(results)
def files_and_sizes(directory):
    return set([(f, os.path.getsize(f)) for f in directory_files(directory)])
old, new = files_and_sizes(sys.argv[1]), files_and_sizes(sys.argv[1])
while old != new:
    old, new = new, files_and_sizes(sys.argv[1])
"""
# What is closed and has not changed for a second goes, verified.
LOOP = """
inotifywait -m -q -e close_write,moved_to --format %f "$1" | while read -r name; do
    (
        cd "$1"
        before=$(stat -c '%s %Y %Z' "$name"); sleep 1
        [ "$(stat -c '%s %Y %Z' "$name")" = "$before" ] || exit 0
        sum=$(sha256sum < "$name")
        ssh -F "$2" 127.0.0.1 "set -e; cd $3; cat > .$name.part; echo '${sum%% *}  .$name.part' | sha256sum --status -c
            mv .$name.part $name" < "$name"
    ) &
done
"""
NO_EVENTS = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'


def cpu_now(pid):
    """CPU seconds that the threads of a process have taken so far."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def cpu_of(ground, *words):
    """CPU seconds of a program that ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ground.run(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_tree(root, count):
    """100 files in each directory."""
    for number in range(count // 100):
        directory = root / f"d{number // 50}/e{number}"
        directory.mkdir(parents=True)
        for name in range(100):
            with open(directory / f"q-{number}-{name}", "w") as file:
                file.write(f"{number} {name}")


class Scan:
    """A `scan` that is ready: stock is taken, and its contents are read."""

    def __init__(self, ground, name, drop, *options, wrapper=()):
        self.ground = ground
        self.ours = Ours(ground, name, rule(ground))
        words = self.ours.words("scan", drop, *options)
        self.process = ground.start(*wrapper, *words)
        ready = ("SELECT (SELECT count(*) FROM drop_directories WHERE stocked_at IS NOT NULL) = 1 "
                 "AND (SELECT count(*) FROM dropped WHERE sha256 IS NULL) = 0")
        until("a drop directory that is known", lambda: filling.number(self.ours, ready) == 1, 900, 0.05)

    def end(self):
        self.ground.end(self.process)


def idle(ground):
    count, wait = (20_000, 15) if ground.is_quick else (200_000, 120)
    interval = 5 if ground.is_quick else 60
    drop = ground.directory("idle")
    make_tree(drop, count)
    scan = Scan(ground, "events", drop)
    watch = ground.start("inotifywait", "-m", "-r", "-q", "-e", "close_write,moved_to", drop)
    events, watched = idle_cpu([scan.process, watch], wait)
    scan.end()
    ground.end(watch)
    # As on a network file system, of which nothing is told.
    walker = Scan(ground, "walk", drop, "--interval", interval,
                  wrapper=["unshare", "--user", "--map-root-user", "sh", "-c", NO_EVENTS, "sh"])
    walk = idle_cpu([walker.process], wait)[0] * interval / 60
    walker.end()
    stamp = ground.memory / "stamp"
    stamp.touch()
    find, old = [], []
    for _ in range(ground.rounds(5, 3)):
        find.append(cpu_of(ground, "find", drop, "-type", "f", "-newer", stamp))
        old.append(cpu_of(ground, PYTHON, "-c", OLD_LOOP, drop))
    unit = "CPU s/min"
    peers = {"`find -newer` each minute": find, "old loop, a turn each minute": old}
    return [
        Row(f"{count:,} idle files, events come", events, {"inotifywait": watched, **peers}, [AtMost(0.02, unit)], unit),
        Row(f"{count:,} idle files, a walk each minute", walk, peers, [Ratio("`find -newer` each minute", 0.5)], unit),
    ]


def idle_cpu(processes, wait):
    """CPU seconds a minute that processes take while nothing happens."""
    time.sleep(5)
    before = [cpu_now(process.pid) for process in processes]
    time.sleep(wait)
    return [(cpu_now(process.pid) - taken) * 60 / wait for process, taken in zip(processes, before)]


def drop(ground):
    shared = ground.client("ssh_config_drop", ground.port, shared=True)
    places = {name: ground.directory(f"drop-{name}") for name in ("ours", "cold", "shared")}
    scan = Scan(ground, "drop", places["ours"], "--settle", "1")
    for name, config in (("cold", ground.ssh_config), ("shared", shared)):
        ground.start("bash", "-c", LOOP, "bash", places[name], config, ground.far)
    ground.run("ssh", "-F", shared, "127.0.0.1", "true")
    seen = Watch(ground, ground.far)
    numbers = iter(range(1_000_000))

    def side(name, place):
        file = None

        def before():
            nonlocal file
            file = place / f"p-{next(numbers)}"

        def run():
            """From the moment at which the file is whole to its first byte on the host."""
            file.write_bytes(os.urandom(10 * KB))
            whole = time.perf_counter()
            seen.wait()
            return time.perf_counter() - whole

        def after():
            there = ground.far / file.name
            until("a dropped file", lambda: there.exists() and there.stat().st_size == 10 * KB, 10, 0.01)
            ground.same(file, there)
            seen.drain()

        return Side(name, run, before, after)

    sides = [side("ours", places["ours"]), side("inotifywait loop", places["cold"]),
             side("inotifywait loop, ControlMaster", places["shared"])]
    taken = race(sides, ground.rounds(9, 3))
    ground.disconnect(shared)
    scan.end()
    return [Row.of("a dropped file, settle 1 s, to its first byte on the host", taken, [AtMost(1.1, "s")])]


class Watch:
    """Tells when something is written or renamed below a directory."""

    def __init__(self, ground, directory):
        words = ["inotifywait", "-m", "-r", "-q", "-e", "modify,moved_to", directory]
        self.process = ground.start(*words, stdout=subprocess.PIPE)
        self.end = self.process.stdout.fileno()
        time.sleep(1)

    def wait(self):
        if not self.tells(60):
            raise Failure("nothing arrived of a dropped file")

    def tells(self, seconds):
        ready, _, _ = select.select([self.end], [], [], seconds)
        return ready and os.read(self.end, 65536)

    def drain(self):
        """Forgets what is told of a package, until nothing more is."""
        while self.tells(0.2):
            pass
