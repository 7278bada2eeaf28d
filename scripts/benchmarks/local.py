"""What no host has a part in: starting up, and finding the rule."""
import os
import statistics
import time

from .ground import PYTHON, Failure
from .ours import Ours, rule
from .race import AtMost, Ratio, Row, Side, race, show

# The rules read and compiled once, then the first that matches each name.
COMPILED_ONCE = """
import configparser, re, sys
parser = configparser.ConfigParser()
parser.read(sys.argv[1])
rules = [(name, re.compile(name)) for name in parser.sections()]
for name in open(sys.argv[2]).read().split():
    print(name, next(rule for rule, pattern in rules if pattern.match(name)))
"""
# As the Python script has it: asked by pattern, of which `re` keeps a few hundred compiled.
ASKED_EACH_TIME = COMPILED_ONCE.replace("re.compile(name)", "name").replace("pattern.match(name)", "re.match(pattern, name)")


def spawn(*words):
    """A program that runs as soon as may be, its output thrown away; returns the seconds to its end."""
    words = [str(word) for word in words]
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(words[0], words, {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    os.close(null)
    if status != 0:
        raise Failure(f"{' '.join(words)}: {status}")
    return took


def start_up(ground):
    ours = Ours(ground, "start", rule(ground))
    programs = {
        "ours": ours.words("explain", "app-1.0.tar"),
        "our `--version`": [ground.binary, "--version"],
        "`svnlook --version`": ["/usr/bin/svnlook", "--version"],
        "python3 -c pass": [PYTHON, "-c", "pass"],
        "rclone version": ["/usr/bin/rclone", "version"],
    }
    sides = [Side(name, lambda words=words: spawn(*words)) for name, words in programs.items()]
    taken = race(sides, ground.rounds(100, 40), 3)
    version = taken.pop("our `--version`")
    return [Row.of("start-up, `explain` of one name", taken, [AtMost(0.004, "s")],
                   note=f"`--version` {show(statistics.median(version), 's')}")]


def rules(ground):
    count, asked = 10_000, 1000
    # Versions of a thousand products, each a prefix that many rules share, and none but the last ones are asked for.
    patterns = [f"product{number % 1000:03}-[a-z]+-{number // 1000}\\.(tar|rpm)$" for number in range(count - 1)]
    patterns.append("app-.*\\.tar$")
    section = "host = 127.0.0.1\nlogin = l\ndest_dir = /in\n"
    ours = Ours(ground, "rules", "".join(f"[{pattern}]\n{section}" for pattern in patterns))
    names = [f"app-{number}.0.tar" for number in range(asked)]
    (ground.memory / "names").write_text("\n".join(names))

    def python(script, names):
        return lambda: ground.run(PYTHON, "-c", script, ours.config, names)

    shown = ours.call("explain", "--json", *names)
    if shown.count('"rule":"app-') != asked:
        raise Failure(f"explain finds another rule: {shown[:500]}")
    sides = [Side("ours", lambda: ours.call("explain", *names)),
             Side("Python, compiled once", python(COMPILED_ONCE, ground.memory / "names"))]
    taken = race(sides, ground.rounds(7, 2), 0 if ground.is_quick else 1)
    few = 2 if ground.is_quick else 10
    for name, some in (("none", []), ("few", names[:few])):
        (ground.memory / name).write_text("\n".join(some))
    reading, asking = (Side("", python(ASKED_EACH_TIME, ground.memory / name)).turn() for name in ("none", "few"))
    taken["as the script does it"] = reading + (asking - reading) * asked / few
    return [Row.of(f"{count:,} rules x {asked:,} names, the last matches", taken, [Ratio("Python, compiled once", 0.1)],
                   note=f"as the script does it: reckoned from {few} names")]
