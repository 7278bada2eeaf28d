"""A fence that nothing outlives: whatever is started inside has ended when the script ends, however it ends.

As root, a PID namespace (the kernel ends it whole) and a mount namespace, in which the scratch directory is a tmpfs and the
login that servers look up has /bin/sh and an empty home: start-up files of root's would spoil every figure over SSH. An
ordinary user gets none of that, is told so, and his descendants are ended one by one.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INSIDE = "AD_BENCH_SCRATCH"


def is_inside():
    return INSIDE in os.environ


def scratch():
    return Path(os.environ[INSIDE])


def is_private():
    """Whether mounts made here are ours alone."""
    return os.environ.get("AD_BENCH_PRIVATE") == "yes"


def enclose(variables):
    """Runs this script once more, inside; returns its exit status."""
    libc = ctypes.CDLL(None)
    private = os.geteuid() == 0 and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    if not private:
        print("bench: not root, or no namespaces here: SSH logins run the start-up files of your shell, all sides' alike; "
              "workloads that need accounts or hosts of their own are left out", flush=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place = tempfile.mkdtemp(prefix="ad-bench.")
    os.chmod(place, 0o755)
    env = {**os.environ, **variables, INSIDE: place, "AD_BENCH_PRIVATE": "yes" if private else "no"}
    words = [*(UNSHARE if private else []), sys.executable, *sys.argv]
    # It ends even where we are killed.
    child = subprocess.Popen(words, env=env, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))

    def end(number, _):
        child.kill()
        raise SystemExit(128 + number)

    for number in ENDS:
        # Under nohup we stay.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        return child.wait()
    finally:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        child.kill()
        child.wait()
        if not private:
            end_descendants()
        for left in (Path(place), memory_place(place)):
            # What has just been killed may still have been making files.
            while left.exists():
                shutil.rmtree(left, ignore_errors=True)


def memory_place(place):
    """Where an ordinary user's tmpfs is."""
    return Path("/dev/shm") / Path(place).name


def end_descendants():
    """Ends whoever came to us when its parent had ended, and their children in turn."""
    while True:
        for child in children_of(os.getpid()):
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children_of(parent):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                yield int(entry.name)


def lay_out():
    """Makes (memory, disk, home) below the scratch directory: a tmpfs, a directory of the disk, the login's home."""
    memory, disk = scratch() / "memory", scratch() / "disk"
    disk.mkdir()
    if is_private():
        memory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=95%,mode=755", "tmpfs", memory], check=True)
    else:
        memory_place(scratch()).mkdir(mode=0o755)
        memory.symlink_to(memory_place(scratch()))
        memory = memory.resolve()
    home = memory / "home"
    home.mkdir()
    if is_private():
        rows = [row.split(":") for row in Path("/etc/passwd").read_text().splitlines()]
        for row in rows:
            if row[2:3] == ["0"]:
                row[5:7] = [str(home), "/bin/sh"]
        (scratch() / "passwd").write_text("".join(":".join(row) + "\n" for row in rows))
        subprocess.run(["mount", "--bind", scratch() / "passwd", "/etc/passwd"], check=True)
    return memory, disk, home
