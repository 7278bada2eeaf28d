"""Many small packages to one host: by `send`, and in one commit."""
import os

from .ground import PATH, until
from .ours import Ours, rule
from .race import Ratio, Row, Side, race

# One connection; digests of all files come along, and what they do not fit never gets its name.
TAR = """
cd "$1"
{ sha256sum -- p-* > "$2"; tar -cf - -C "${2%/*}" "${2##*/}" -C "$1" .; } | ssh -F "$3" 127.0.0.1 "
    set -e; cd $4; mkdir .stage; tar -xf - -C .stage; cd .stage; sha256sum --quiet -c ${2##*/}; rm ${2##*/}
    mv p-* ..; cd ..; rmdir .stage"
"""


def make_files(ground, directory, count, size):
    block = os.urandom(count * size)
    for number in range(count):
        (directory / f"p-{number:05}").write_bytes(block[number * size:(number + 1) * size])
    return sorted(directory.iterdir())


def assert_all(ground, near, far):
    """Every file is there with its bytes, and nothing else."""
    ground.run("diff", "-rq", near, far)


def many(ground):
    count = 1000
    near = ground.directory("many")
    files = make_files(ground, near, count, 10 << 10)
    ours = Ours(ground, "many", rule(ground))
    config, far = ground.ssh_config, ground.far
    batch = ground.memory / "sftp.batch"
    batch.write_text("".join(f"put {file} {far}/.{file.name}.part\nrename {far}/.{file.name}.part {far}/{file.name}\n"
                             for file in files))
    connect = f"set sftp:connect-program 'ssh -a -x -F {config}'"
    lftp = f"{connect}; open -u {ground.login}, sftp://127.0.0.1:{ground.port}; mirror -R {near} {far}"
    sums = ground.directory("many-sums") / "SHA256SUMS"
    runs = {
        "ours": lambda: ours.send(*files),
        "tar over ssh, SHA-256, rename": lambda: ground.shell(TAR, near, sums, config, far),
        "rsync": lambda: ground.run("rsync", "-rt", "-e", f"ssh -F {config}", f"{near}/", f"127.0.0.1:{far}/"),
        "lftp": lambda: ground.run("lftp", "--norc", "-c", lftp),
        "sftp put + rename": lambda: ground.run("sftp", "-q", "-F", config, "-b", batch, "127.0.0.1"),
        "scp -r": lambda: ground.run("scp", "-q", "-r", "-F", config, *files, f"127.0.0.1:{far}/"),
    }
    sides = [Side(name, run, lambda: ground.empty(far), lambda: assert_all(ground, near, far)) for name, run in runs.items()]
    reach = [Ratio("rsync", 1.0), Ratio("tar over ssh, SHA-256, rename", 1.0)]
    return [Row.of(f"{count:,} x 10 KiB, one host, each verified and renamed", race(sides, ground.rounds(9, 3)), reach)]


# What a good hook does: the whole revision's packages in one stream.
EXPORT = """#!/bin/bash
set -euo pipefail
export PATH={path} LC_ALL=C.UTF-8
svn export -q -r "$2" "file://$1/$(svnlook dirs-changed -r "$2" "$1" | tail -n 1)" "{stage}"
cd "{stage}"
{send}
rm -r "{stage}"
"""
SEND = 'tar -cf - . | ssh -F {config} 127.0.0.1 "tar -xf - -C {far}"'
SEND_CHECKED = """sha256sum -- p-* > {stage}.sum
tar -cf - -C {parent} {name}.sum -C {stage} . | ssh -F {config} 127.0.0.1 "
    set -e; cd {far}; mkdir .stage; tar -xf - -C .stage; cd .stage; sha256sum --quiet -c {name}.sum; rm {name}.sum
    mv p-* ..; cd ..; rmdir .stage\""""


# Package by package, as it is often written.
EACH = """#!/bin/bash
set -euo pipefail
export PATH={path} LC_ALL=C.UTF-8
mkdir "{stage}"
svnlook changed -r "$2" "$1" | while read -r _ path; do
    case $path in */) ;; *) svnlook cat -r "$2" "$1" "$path" > "{stage}/${{path##*/}}" ;; esac
done
scp -q -F {config} "{stage}"/* 127.0.0.1:{far}/
rm -r "{stage}"
"""


class Commits:
    """A repository that gets the same number of packages in each commit, in a directory of the round."""

    def __init__(self, ground, name, count, hook):
        self.ground, self.count, self.round = ground, count, 0
        self.repository = ground.repository(name, hook)
        self.wc = ground.memory / f"{name}-wc"

    def prepare(self):
        self.ground.empty(self.ground.far)
        self.round += 1
        self.near = self.wc / f"r{self.round}"
        self.near.mkdir()
        make_files(self.ground, self.near, self.count, 10 << 10)
        self.ground.run("svn", "add", "-q", self.near)

    def commit(self):
        self.ground.run("svn", "commit", "-q", "-m", "bench", self.wc)

    def check(self):
        assert_all(self.ground, self.near, self.ground.far)


def commit_1000(ground):
    count = 1000
    stage = ground.memory / "stage"
    common = {"config": ground.ssh_config, "far": ground.far, "stage": stage, "parent": stage.parent, "name": stage.name}
    def export(send):
        return EXPORT.format(path=PATH, stage=stage, send=send.format(**common))

    ours = Ours(ground, "commits", rule(ground))
    peers = {
        "svn export + tar over ssh": Commits(ground, "plain", count, export(SEND)),
        "the same, SHA-256, rename": Commits(ground, "checked", count, export(SEND_CHECKED)),
    }
    mine = Commits(ground, "mine", count, ours.hook_text())

    def run_ours():
        mine.commit()
        # The last one first: to count them all again and again would take from those who bring them.
        last = ground.far / f"p-{count - 1:05}"
        until("the last package", last.exists, 120, 0.002)
        until("1,000 packages", lambda: sum(name[0] == "p" for name in os.listdir(ground.far)) == count, 120, 0.002)

    def check_ours():
        ours.wait_settled()
        mine.check()

    sides = [Side("ours", run_ours, mine.prepare, check_ours)]
    sides += [Side(name, peer.commit, peer.prepare, peer.check) for name, peer in peers.items()]
    ours.worker()
    taken = race(sides, ground.rounds(7, 2))
    if not ground.is_quick:
        slow = Commits(ground, "each", count, EACH.format(path=PATH, **common))
        taken["svnlook cat each + scp"] = Side("", slow.commit, slow.prepare, slow.check).turn()
    reach = [Ratio("svn export + tar over ssh", 1.0)]
    return [Row.of(f"{count:,} packages in one commit, commit to all there", taken, reach)]
