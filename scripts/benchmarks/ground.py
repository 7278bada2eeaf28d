"""The ground that all sides stand on: scratch directories, an environment, sshd, the peers' configuration of ssh, repositories.

It knows nothing of workloads or figures.
"""
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import fence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = "/usr/bin/python3"
MIB = 1 << 20
GIB = 1 << 30


class Failure(Exception):
    """Why a workload cannot be measured."""


def until(what, condition, limit=60, pause=0.001):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"waited in vain for {what}")
        time.sleep(pause)


def answers(address, port):
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def free_port():
    """A port that the kernel picked; free on every address of loopback."""
    with socket.socket() as held:
        held.bind(("", 0))
        return held.getsockname()[1]


def detached(place):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # One that has ended has no words left.
            if b"\0--detached\0" in words and str(place).encode() in words:
                found.append(int(entry.name))
    return found


class Ground:
    def __init__(self, binary, is_quick, rounds):
        self.memory, self.disk, self.home = fence.lay_out()
        self.is_quick, self.rounds_asked = is_quick, rounds
        asked, free = 4 if is_quick else 10, memory_gib("MemAvailable")
        if free < asked:
            print(f"bench: {free:.1f} GiB of memory are free, and {asked} are asked for")
        self.touch(int(min(asked, free / 2) * GIB))
        self.login = pwd.getpwuid(os.geteuid()).pw_name
        self.env = {"PATH": PATH, "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        (self.memory / "bin").mkdir()
        self.binary = Path(shutil.copy(binary, self.memory / "bin/auto-dispatcher"))
        self.far = self.directory("far")
        for key in ("host_key", "client_key"):
            self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.memory / key)
        self.host_key = " ".join((self.memory / "host_key.pub").read_text().split()[:2])
        self.known_hosts = self.memory / "known_hosts"
        self.identity = self.memory / "client_key"
        self.started = []
        self.port = self.sshd(["127.0.0.1"])
        self.known_hosts.write_text(f"* {self.host_key}\n")
        self.ssh_config = self.client("ssh_config", self.port)
        self.kept = set(self.memory.iterdir())

    def rounds(self, full, quick):
        return self.rounds_asked or (quick if self.is_quick else full)

    def run(self, *words, **more):
        """Runs a program that has to succeed; returns its stdout."""
        more = {"env": self.env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        ran = subprocess.run([str(word) for word in words], text=True, **more)
        if ran.returncode != 0:
            shown = " ".join(str(word) for word in words)[:500]
            raise Failure(f"{shown}: exit status {ran.returncode}\n{(ran.stdout or '')[-2000:]}{(ran.stderr or '')[-2000:]}")
        return ran.stdout

    def shell(self, script, *words, **more):
        """Runs a pipeline of a peer, no part of which may fail."""
        return self.run("bash", "-c", "set -euo pipefail\n" + script, "bash", *words, **more)

    def start(self, *words, **more):
        """Starts a process; end() ends it, and so does the fence."""
        silence = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        more = {"env": self.env, **silence, **more}
        process = subprocess.Popen([str(word) for word in words], **more)
        self.started.append(process)
        return process

    def end(self, process):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in self.started:
            self.started.remove(process)

    def tidy(self):
        """Ends what a workload started, and makes room for the next: what was there before stays."""
        for process in self.started[1:]:
            self.end(process)
        self.end_detached(self.memory)
        for entry in self.memory.iterdir():
            if entry not in self.kept:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for directory in (self.far, self.home, self.disk):
            self.empty(directory)

    def end_detached(self, place):
        """Ends the workers that hooks started, with configurations at that place."""
        for pid in detached(place):
            os.kill(pid, signal.SIGTERM)
        until("the end of the workers", lambda: not detached(place), 30, pause=0.01)

    def directory(self, name):
        path = self.memory / name
        path.mkdir(parents=True)
        return path

    def empty(self, directory):
        """Empties a directory that stays, for servers and FIFOs hold it."""
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def touch(self, size):
        """Has the machine give the memory that is going to be used, so that nobody pays for it while the clock runs."""
        with open(self.memory / "touched", "wb", buffering=0) as file:
            block = bytes(8 * MIB)
            for _ in range(size // len(block)):
                file.write(block)
        (self.memory / "touched").unlink()

    def random_file(self, path, size):
        """A file that no compression makes smaller."""
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            key = os.urandom(16).hex()
            cipher = subprocess.Popen(
                ["openssl", "enc", "-aes-128-ctr", "-K", key, "-iv", "0" * 32, "-in", "/dev/zero"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
            left = size
            while left:
                block = cipher.stdout.read(min(left, 4 * MIB))
                file.write(block)
                left -= len(block)
            cipher.kill()
            cipher.wait()
        return path

    def sshd(self, addresses, port=None, root=None):
        """A host on these addresses; with `root`, another one, whose `far` is that directory. Returns its port."""
        port = port or free_port()
        name = f"sshd-{addresses[0]}"
        config = self.memory / f"{name}.conf"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config.write_text(
            "".join(f"ListenAddress {address}\n" for address in addresses)
            + f"Port {port}\nHostKey {self.memory}/host_key\nAuthorizedKeysFile {self.identity}.pub\nStrictModes no\n"
            "PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nMaxStartups 500:30:1000\nMaxSessions 100\n"
            "LogLevel quiet\nPrintMotd no\n"
        )
        words = [shutil.which("sshd", path=PATH), "-D", "-f", config, "-E", self.memory / f"{name}.log"]
        if root:
            script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
            words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", root, self.far, *words]
        process = self.start(*words)
        for address in addresses:
            until(f"sshd on {address}", lambda: process.poll() is None and answers(address, port), 20)
        return port

    def client(self, name, port, more="", shared=False):
        """A configuration for the peers' ssh, which knows the host and takes one key; `shared`: one connection for all that
        use it."""
        path = self.memory / name
        if shared:
            more += f"  ControlMaster auto\n  ControlPath {self.memory}/{len(name)}-%C\n  ControlPersist 600\n"
        path.write_text(
            f"Host *\n{more}  Port {port}\n  User {self.login}\n  IdentityFile {self.identity}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
            "  BatchMode yes\n  LogLevel ERROR\n"
        )
        return path

    def rclone(self, name, port):
        """A configuration for rclone, in which the host is `host:`."""
        path, known = self.memory / name, self.memory / f"{name}.known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {self.host_key}\n")
        path.write_text(f"[host]\ntype = sftp\nhost = 127.0.0.1\nport = {port}\nuser = {self.login}\n"
                        f"key_file = {self.identity}\nknown_hosts_file = {known}\n")
        return path

    def disconnect(self, config):
        """Ends the connection that is shared, if there is one."""
        subprocess.run(["ssh", "-F", config, "-O", "exit", "127.0.0.1"], env=self.env, stderr=subprocess.DEVNULL)

    def repository(self, name, hook):
        """A repository with a working copy beside it, and a hook for commits."""
        repository = self.memory / name
        self.run("svnadmin", "create", repository)
        self.hook(repository, hook)
        self.run("svn", "checkout", "-q", f"file://{repository}", f"{repository}-wc")
        return repository

    def hook(self, repository, text):
        path = repository / "hooks/post-commit"
        path.write_text(text)
        path.chmod(0o755)

    def same(self, near, far):
        """The far end has these bytes."""
        if subprocess.run(["cmp", "-s", near, far]).returncode != 0:
            raise Failure(f"{far} is not {near}")


class Bell:
    """A FIFO by which a host says that something is installed there, so that nobody has to look again and again."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self.end = os.open(path, os.O_RDWR)

    def wait(self, word, limit=60):
        """Waits until the word is said."""
        alarm = time.monotonic() + limit
        heard = b""
        os.set_blocking(self.end, True)
        while word.encode() not in heard:
            if time.monotonic() > alarm:
                raise Failure(f"{word} was not installed")
            heard += self.listen(alarm)

    def listen(self, alarm):
        ready, _, _ = select.select([self.end], [], [], max(0, alarm - time.monotonic()))
        return os.read(self.end, 4096) if ready else b""


def memory_gib(what):
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == f"{what}:") / (1 << 20)


def machine(ground):
    """What the figures were taken on."""
    def first(*words):
        ran = subprocess.run(words, env=ground.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return ran.stdout.strip().splitlines()[0] if ran.stdout.strip() else ""

    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), os.uname().machine)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"), "processor": model, "cores": os.cpu_count(),
        "memory_gib": round(memory_gib("MemTotal"), 1), "kernel": os.uname().release, "load_before": os.getloadavg()[0],
        "versions": [first(str(ground.binary), "--version"), "svn " + first("svn", "--version", "-q"), first("ssh", "-V").split(",")[0],
                     first("rsync", "--version"), first("lftp", "--version").split(" |  ")[0], first("rclone", "version"),
                     first("curl", "--version").split(" (")[0], first("openssl", "version").split(" (")[0], first(PYTHON, "--version")],
    }
