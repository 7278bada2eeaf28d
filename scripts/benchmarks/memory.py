"""The most memory that we ever have: with one very large package, and with very many queued deliveries."""
import os
import shutil
import time
from pathlib import Path

from . import filling
from .ground import GIB, Failure, free_port, until
from .ours import Ours, rule
from .race import AtMost, Row

LIMIT = AtMost(64, "MiB")


def peak_mib(process):
    """What a living process has had at most; None where it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else None


def watch(process, is_over, pause=0.02):
    """Its peak until it ends, or something is so."""
    peak = 0
    while process.poll() is None and not is_over():
        peak = max(peak, peak_mib(process) or 0)
        time.sleep(pause)
    return max(peak, peak_mib(process) or 0)


def memory(ground):
    return [package(ground), queue(ground)]


def package(ground):
    """Copied, digested, uploaded, verified. On the disk: three of it are more than a machine has memory."""
    asked = (2 if ground.is_quick else 10) * GIB
    size = min(asked, shutil.disk_usage(ground.disk).free // 4)
    (ground.disk / "far").mkdir()
    file = ground.disk / "large.bin"
    with open(file, "wb") as made:
        # Some of it has content; where the rest is holes, nobody knows.
        for place in range(0, size, size // 64):
            made.seek(place)
            made.write(os.urandom(1 << 20))
        made.truncate(size)
    ours = Ours(ground, "memory", rule(ground, dest_dir=ground.disk / "far"), place=ground.disk)
    process = ground.start(*ours.words("send", file))
    peak = watch(process, lambda: False)
    if process.returncode != 0:
        raise Failure(f"send of {size} bytes: exit status {process.returncode}")
    ground.same(file, ground.disk / "far/large.bin")
    short = "" if size == asked else "less than asked: the disk has no room for more"
    return Row(f"peak memory, a package of {size / GIB:.0f} GiB by `send`", peak, {}, [LIMIT], "MiB", short)


def queue(ground):
    """A worker that takes up a long queue: until it has delivered some of it."""
    count, some = (10_000, 50) if ground.is_quick else (100_000, 300)
    port = free_port()
    ours = Ours(ground, "queue", rule(ground, host="127.0.0.3", ssh_port=port, retries=5))
    seed = ground.random_file(ground.memory / "seed", 24)
    filling.queued(ours, seed, count, some + 50)
    ground.sshd(["127.0.0.3"], port)
    began = time.monotonic()
    process = ground.start(*ours.words("worker"))

    def is_far():
        if time.monotonic() - began > 300:
            raise Failure("a long queue does not move")
        return len(os.listdir(ground.far)) >= some

    peak = watch(process, is_far)
    until("the worker", lambda: process.poll() is None, 1)
    ground.end(process)
    return Row(f"peak memory of a worker, {count:,} queued deliveries", peak, {}, [LIMIT], "MiB")
