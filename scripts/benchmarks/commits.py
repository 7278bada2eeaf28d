"""One commit: what its author waits for the hook, and how soon the package is installed."""
import shutil
import socket
import statistics
import time

from .ground import PATH, Bell
from .ours import Ours, pause_until, rule
from .race import Above, BestRatio, Ratio, Row, Side, race, show

TRUE = "#!/bin/sh\nexec /bin/true\n"
KB = 1000


class Committer:
    """Commits new files to a repository of its own."""

    def __init__(self, ground, name, hook=TRUE):
        self.ground, self.name = ground, name
        self.repository = ground.repository(name, hook)
        self.wc = ground.memory / f"{name}-wc"
        self.revision = 0

    def prepare(self, size):
        """The next package, ready to be committed."""
        self.package = f"p-{self.name}-{self.revision + 1:04}"
        self.ground.random_file(self.wc / self.package, size)
        self.ground.run("svn", "add", "-q", self.wc / self.package)

    def commit(self):
        """Returns (when it began, how long svn took)."""
        began = time.perf_counter()
        self.ground.run("svn", "commit", "-q", "-m", "bench", self.wc)
        self.revision += 1
        return began, time.perf_counter() - began

    def slim(self):
        """Forgets what the working copy holds, which is of the size of all packages twice."""
        shutil.rmtree(self.wc)
        self.ground.run("svn", "checkout", "-q", "--depth", "empty", f"file://{self.repository}", self.wc)


# ----- from commit to installed

CHECKED = """
svnlook cat -r $2 "$1" "$3" > "$4"
sum=$(sha256sum < "$4")
ssh -F "$5" 127.0.0.1 "set -e; cat > $6/.$3.part; echo '${sum%% *}  $6/.$3.part' | sha256sum --status -c
mv $6/.$3.part $6/$3; install -m 644 $6/$3 $7/$3; echo $3 > $8" < "$4"
"""
UNCHECKED = """
svnlook cat -r $2 "$1" "$3" |
ssh -F "$5" 127.0.0.1 "set -e; cat > $6/.$3.part; mv $6/.$3.part $6/$3; install -m 644 $6/$3 $7/$3; echo $3 > $8"
"""
THREE = """
svnlook cat -r $2 "$1" "$3" > "$4"
ssh -F "$5" 127.0.0.1 "mkdir -p $6"
scp -q -F "$5" "$4" "127.0.0.1:$6/$3"
ssh -F "$5" 127.0.0.1 "set -e; install -m 644 $6/$3 $7/$3; echo $3 > $8"
"""
# The same as a hook, which has to ask what was committed.
HOOK = """#!/bin/sh
set -e
export PATH={path} LC_ALL=C.UTF-8
path=$(svnlook changed -r "$2" "$1"); path=${{path#????}}
set -- "$1" "$2" "$path" {words}
{script}
"""


class Installed:
    """What becomes of a package of one side, from the beginning of the commit to the end of its install command."""

    def __init__(self, ground):
        self.ground = ground
        self.installed = ground.directory("installed")
        self.bell = Bell(ground.memory / "bell")

    def install_command(self):
        return f"install -m 644 {{path}} {self.installed}/{{package}} && echo {{package}} > {self.bell.path}"

    def arrive(self, committer):
        began, _ = committer.commit()
        self.bell.wait(committer.package)
        return time.perf_counter() - began

    def check(self, committer):
        self.ground.same(committer.wc / committer.package, self.installed / committer.package)

    def ours(self, ground, name, before, settings=""):
        ours = Ours(ground, name, rule(ground, install_command=self.install_command()), settings)
        committer = Committer(ground, name, ours.hook_text())
        side = Side("ours", lambda: self.arrive(committer), lambda: before(ours, committer), lambda: self.check(committer))
        return ours, side

    def words(self, config):
        """What a pipeline is told from its fourth word on."""
        return [self.ground.memory / "package", config, self.ground.far, self.installed, self.bell.path]

    def peer(self, name, script, config, warm=None):
        """A pipeline that is told what was committed, by somebody who waited for the commit."""
        committer = Committer(self.ground, name.replace(" ", "-").replace(",", ""))

        def run():
            began, _ = committer.commit()
            told = [committer.repository, committer.revision, committer.package, *self.words(config)]
            self.ground.run("sh", "-ec", script, "sh", *told)
            self.bell.wait(committer.package)
            return time.perf_counter() - began

        def before():
            committer.prepare(10 * KB)
            if warm:
                warm()

        return Side(name, run, before, lambda: self.check(committer))

    def hook(self, name, script, config, warm):
        words = " ".join(f"'{word}'" for word in self.words(config))
        committer = Committer(self.ground, "hooked", HOOK.format(path=PATH, words=words, script=script))

        def before():
            committer.prepare(10 * KB)
            warm()

        return Side(name, lambda: self.arrive(committer), before, lambda: self.check(committer))


def small(ground):
    return [warm(ground), cold(ground)]


def warm(ground):
    there = Installed(ground)

    def used_a_second_ago(_, committer):
        committer.prepare(10 * KB)
        committer.commit()
        there.bell.wait(committer.package)
        used = time.monotonic()
        committer.prepare(10 * KB)
        pause_until(used + 1)

    ours, side = there.ours(ground, "warm", used_a_second_ago)
    shared = ground.client("ssh_config_warm", ground.port, shared=True)

    def connected():
        ground.run("ssh", "-F", shared, "127.0.0.1", "true")

    sides = [
        side,
        there.peer("pipeline, SHA-256", CHECKED, shared, connected),
        there.peer("pipeline", UNCHECKED, shared, connected),
        there.hook("as a hook, SHA-256", CHECKED, shared, connected),
    ]
    worker = ours.worker()
    taken = race(sides, ground.rounds(21, 7))
    ground.end(worker)
    ground.disconnect(shared)
    ground.tidy()
    return Row.of("`svn commit` to installed, 10 KB, session warm", taken, [Ratio("pipeline, SHA-256", 1.0)],
                  note="peers: `svnlook cat` into one ssh over ControlMaster")


def cold(ground):
    there = Installed(ground)

    def nobody_works(ours, committer):
        ours.end_workers()
        committer.prepare(10 * KB)

    _, side = there.ours(ground, "cold", nobody_works)
    config = ground.ssh_config
    curve = ground.client("ssh_config_curve", ground.port, "  KexAlgorithms curve25519-sha256\n")
    sides = [
        side,
        there.peer("one ssh", UNCHECKED, config),
        there.peer("one ssh, curve25519", UNCHECKED, curve),
        there.peer("one ssh, curve25519, SHA-256", CHECKED, curve),
        there.peer("mkdir, scp, install", THREE, config),
    ]
    taken = race(sides, ground.rounds(15, 5))
    ground.tidy()
    reach = [BestRatio(["one ssh", "one ssh, curve25519"], 0.7, "the best single ssh")]
    return Row.of("the same, cold", taken, reach, note="no worker lives, no connection is open")


# ----- what the committer waits

# Says beside the hook how long it took; for packages whose commit takes seconds, which hide milliseconds.
TIMED = """#!/bin/sh
began=$(/usr/bin/date +%s%N)
{hook} "$@"
status=$?
echo $(($(/usr/bin/date +%s%N) - began)) > {place}
exit $status
"""
INLINE = """#!/bin/sh
export PATH={path} LC_ALL=C.UTF-8
path=$(svnlook changed -r "$2" "$1"); path=${{path#????}}
svnlook cat -r "$2" "$1" "$path" | ssh -F {config} -o ConnectTimeout=15 -p {port} 127.0.0.1 "cat > {far}/$path" || true
"""


class Hosts:
    """A host that is up, one that refuses and one that is silent: their ports."""

    def __init__(self, ground):
        self.closed, self.silent = socket.socket(), socket.socket()
        for one in (self.closed, self.silent):
            one.bind(("127.0.0.1", 0))
        self.silent.listen(4096)
        self.ports = {"up": ground.port, "refusing": self.closed.getsockname()[1], "silent": self.silent.getsockname()[1]}

    def close(self):
        self.closed.close()
        self.silent.close()


def hook(ground):
    rows = [wait(ground, 10 * KB, "10 KB", ground.rounds(21, 7), False)]
    size = 50 if ground.is_quick else 200
    rows.append(wait(ground, size * KB * KB, f"{size} MB", ground.rounds(3, 1), True))
    return rows


def wait(ground, size, what, rounds, is_timed):
    """The author's wait, or where that is seconds the hook's share of it."""
    hosts = Hosts(ground)
    place = ground.memory / "took"

    def committer(name, hook):
        made = Committer(ground, name, hook)
        if is_timed:
            inner = made.repository / "hooks/inner"
            inner.write_text(hook)
            inner.chmod(0o755)
            ground.hook(made.repository, TIMED.format(hook=inner, place=place))
        return made

    def side(name, made, ours=None, worker=None):
        def run():
            _, took = made.commit()
            return int(place.read_text()) / 1e9 if is_timed else took

        def after():
            if is_timed:
                made.slim()
            # What a worker makes of 200 MB is not to fall into the next side's turn.
            if ours:
                ours.wait_idle(worker)
            if ours and name == "up":
                ours.wait_settled()
                ground.empty(ground.far)

        return Side(name, run, lambda: made.prepare(size), after)

    sides = [side("`/bin/true`", committer("true", TRUE)),
             side("a line for cron", committer("cron", f'#!/bin/sh\necho "$1 $2" >> {ground.memory}/cron\n'))]
    for name, port in hosts.ports.items():
        ours = Ours(ground, name, rule(ground, ssh_port=port, retries=None))
        sides.append(side(name, committer(name, ours.hook_text()), ours, ours.worker()))
    taken = race(sides, rounds, 0 if is_timed else 1)
    once = {} if is_timed else inline(ground, hosts, size)
    hosts.close()
    ground.tidy()
    by_host = {name: taken.pop(name) for name in hosts.ports}
    worst = max(by_host.values(), key=statistics.median)
    note = "; ".join(f"{name} {show(statistics.median(took), 's')}" for name, took in by_host.items())
    title = f"the hook alone, {what}" if is_timed else f"`svn commit` with its hook, {what}"
    row = Row(f"{title}; the slowest of host {note}", worst, {**taken, **once}, [Above("`/bin/true`", 0.005, "s")])
    row.samples.update({f"ours, host {name}": took for name, took in by_host.items()})
    return row


def inline(ground, hosts, size):
    """A hook that delivers while the author waits; once, for it takes so long."""
    taken = {}
    for name in ["up"] if ground.is_quick else ["up", "silent"]:
        text = INLINE.format(path=PATH, config=ground.ssh_config, far=ground.far, port=hosts.ports[name])
        made = Committer(ground, f"inline-{name}", text)
        made.prepare(size)
        taken[f"inline ssh, host {name}"] = made.commit()[1]
    return taken
