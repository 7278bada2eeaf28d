"""One package to many hosts, with an install command on each. Every host is an sshd with a directory of its own behind the
same path, which takes mounts."""
from . import fence
from .ground import MIB, free_port
from .ours import Ours, rule
from .race import BestRatio, Row, Side, race

# Digest once, then one connection for each host.
XARGS = """
export config=$1 file=$2 far=$3 installed=$4
read -r sum _ < <(openssl dgst -sha256 -r "$file"); export sum
xargs -P "$5" -I{} sh -c 'ssh -F "$config" -c aes128-gcm@openssh.com {} "set -e; cat > $far/.p.part
    [ \\"\\$(openssl dgst -sha256 -r < $far/.p.part)\\" = \\"$sum *stdin\\" ]; mv $far/.p.part $far/p
    install -m 644 $far/p $installed/p" < "$file"'
"""
SCP_SSH = """
export config=$1 file=$2 far=$3 installed=$4
xargs -P "$5" -I{} sh -c 'scp -q -F "$config" "$file" "{}:$far/p" && ssh -F "$config" {} "install -m 644 $far/p $installed/p"'
"""


class Park:
    """Hosts on loopback, each with `far` of its own, which holds what is uploaded and `installed`."""

    def __init__(self, ground, count):
        self.ground, self.port = ground, free_port()
        self.addresses = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count)]
        self.roots = []
        for address in self.addresses:
            root = ground.directory(f"host-{address}")
            self.roots.append(root)
            ground.sshd([address], self.port, root)
        self.empty()

    def empty(self):
        for root in self.roots:
            self.ground.empty(root)
            (root / "installed").mkdir()

    def check(self, file, hosts=None):
        for root in self.roots[:hosts]:
            self.ground.same(file, root / "p")
            self.ground.same(file, root / "installed/p")


def install_command(ground):
    return f"install -m 644 {{path}} {ground.far}/installed/{{package}}"


def hosts(ground):
    if not fence.is_private():
        print(" left out: hosts of their own need root", end="")
        return []
    count, size = 20, (4 if ground.is_quick else 20) * MIB
    park = Park(ground, count)
    (ground.memory / "package").mkdir()
    file = ground.random_file(ground.memory / "package/p", size)
    config = ground.client("ssh_config_hosts", park.port)
    keys = {"host": ", ".join(park.addresses), "ssh_port": park.port, "install_command": install_command(ground)}
    ours = Ours(ground, "hosts", rule(ground, **keys))
    names = "".join(f"{address}\n" for address in park.addresses)

    def xargs(script, at_once):
        words = [config, file, ground.far, ground.far / "installed", at_once]
        return lambda: ground.shell(script, *words, input=names)

    runs = {
        "ours": lambda: ours.send(file),
        "xargs, one ssh each, SHA-256, rename": xargs(XARGS, 8),
        "the same, 20 at once": xargs(XARGS, 20),
        "xargs scp + ssh": xargs(SCP_SSH, 8),
    }
    sides = [Side(name, run, park.empty, lambda: park.check(file)) for name, run in runs.items()]
    taken = race(sides, ground.rounds(7, 2), 0 if ground.is_quick else 1)
    reach = [BestRatio(["xargs, one ssh each, SHA-256, rename", "the same, 20 at once"], 0.8, "the better of one ssh each")]
    return [Row.of(f"{size // MIB} MiB to {count} hosts, install on each, verified", taken, reach)]
