"""Our side: a configuration of its own with a state directory, and the program's commands."""
import json
import shutil
import subprocess
import time
from pathlib import Path

from .ground import until


OPEN = ("queued", "running", "waiting", "recorded", "plan_failed")


class Ours:
    """One installation: rules, settings and state in a directory of their own."""

    def __init__(self, ground, name, rules, settings="", sections="", place=None):
        self.ground, self.name = ground, name
        self.place = (place or ground.memory) / f"ours-{name}"
        self.place.mkdir()
        self.config = self.place / "general-dispatch-info.cfg"
        self.state = self.place / "state"
        self.write_rules(rules)
        (self.place / "auto-dispatcher.cfg").write_text(
            f"[auto-dispatcher]\nstate_dir = {self.state}\nspool_max = 100G\n{settings}{sections}"
        )

    def write_rules(self, rules):
        self.config.write_text(rules)
        self.config.chmod(0o600)

    def words(self, *words):
        return [str(self.ground.binary), "--config", str(self.config), *(str(word) for word in words)]

    def call(self, *words, **more):
        """Runs a command that has to succeed; returns its stdout."""
        return self.ground.run(*self.words(*words), **more)

    def send(self, *files):
        self.call("send", *files)

    def worker(self, *words):
        """A worker that is ready to work."""
        process = self.ground.start(*self.words("worker", *words))
        until("a worker", lambda: process.poll() is None and self.counts_a_worker())
        return process

    def counts_a_worker(self):
        ran = subprocess.run(self.words("status", "--json"), env=self.ground.env, capture_output=True, text=True)
        return '"worker"' in ran.stdout

    def end_workers(self):
        """Ends the workers that hooks started."""
        self.ground.end_detached(self.config)

    def hook_text(self):
        return f'#!/bin/sh\nexec {self.ground.binary} --config {self.config} hook "$@"\n'

    def is_settled(self):
        """Whether everything that was recorded is planned, and nothing is open."""
        shown = [json.loads(line) for line in self.call("status", "--json").splitlines()]
        return not any(line.get("unplanned") or line.get("state") in OPEN for line in shown)

    def wait_settled(self, limit=120):
        until("what is queued", self.is_settled, limit, pause=0.02)

    def wait_idle(self, worker, limit=120):
        """Until everything that was recorded is planned, and the worker runs no program of Subversion's."""
        def is_idle():
            shown = self.call("status", "--json").splitlines()
            return not runs_a_program(worker.pid) and not any(json.loads(line).get("unplanned") for line in shown)

        # Between two programs there is a moment without any.
        until("a worker that rests", lambda: all(is_idle() for _ in range(5)), limit, pause=0.02)

    def forget(self):
        shutil.rmtree(self.state, ignore_errors=True)


def runs_a_program(pid):
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            if path.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
            pass
    return False


def rule(ground, pattern=".*", **keys):
    """A section that leads to the host over SSH."""
    keys = {
        "host": "127.0.0.1", "ssh_port": ground.port, "login": ground.login, "identity_file": ground.identity,
        "known_hosts": ground.known_hosts, "transports": "ssh", "dest_dir": ground.far, "retries": 0, **keys,
    }
    return f"[{pattern}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)


def pause_until(moment):
    time.sleep(max(0, moment - time.monotonic()))
