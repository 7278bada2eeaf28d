"""One large file to one host, from `send` to renamed there."""
import os

from .ground import GIB, MIB
from .ours import Ours, rule
from .race import Ratio, Row, Side, race

GCM = "aes128-gcm@openssh.com"

# The digest of the file is computed here while the host computes that of what arrives; one connection for all.
VERIFIED = """
config=$1 file=$2 name=$3
( openssl dgst -sha256 -r "$file" | cut -d' ' -f1 > "$file.sum" ) & local=$!
there=$(ssh -F "$config" -c aes128-gcm@openssh.com 127.0.0.1 "tee $name.part | openssl dgst -sha256 -r" < "$file")
wait $local
[ "${there%% *}" = "$(cat "$file.sum")" ]
ssh -F "$config" 127.0.0.1 "mv $name.part $name"
"""
RCLONE = """
[host]
type = sftp
host = 127.0.0.1
port = {port}
user = {login}
key_file = {key}
known_hosts_file = {known_hosts}
"""


def large(ground):
    size = (256 * MIB) if ground.is_quick else GIB
    ground.touch(3 * size)
    file = ground.random_file(ground.memory / "large.bin", size)
    there = ground.far / "large.bin"
    ours = Ours(ground, "large", rule(ground))
    config = ground.ssh_config
    shared = ground.client("ssh_config_large", ground.port, f"  ControlMaster auto\n  ControlPath {ground.memory}/l-%C\n  ControlPersist 2\n")
    rclone = ground.memory / "rclone.conf"
    rclone.write_text(RCLONE.format(port=ground.port, login=ground.login, key=ground.identity, known_hosts=ground.known_hosts))
    target = f"127.0.0.1:{there}"

    def rsync(*cipher):
        words = " ".join(["ssh", "-F", str(config), *cipher])
        return lambda: ground.run("rsync", "-W", "-e", words, file, target)

    def scp(*words):
        return lambda: ground.run("scp", "-q", "-F", config, *words, file, target)

    def call(*words):
        return lambda: ground.run(*words)

    def clean():
        ground.empty(ground.far)
        # A connection that a peer keeps open to share is its own to open.
        ground.run("sh", "-c", f"ssh -F {shared} -O exit 127.0.0.1 2>/dev/null || true")

    def check():
        ground.same(file, there)

    lftp = (f"set sftp:connect-program 'ssh -a -x -F {config}'; open -u {ground.login}, sftp://127.0.0.1:{ground.port}; "
            f"put {file} -o {there}")
    runs = {
        "ours": lambda: ours.send(file),
        "verified pipeline": lambda: ground.shell(VERIFIED, shared, file, there),
        "scp": scp(), "scp gcm": scp("-c", GCM), "scp -O gcm": scp("-O", "-c", GCM),
        "rsync": rsync(), "rsync gcm": rsync("-c", GCM),
        "lftp": call("lftp", "--norc", "-c", lftp),
        "rclone": call("rclone", "--config", rclone, "copyto", file, f"host:{there}"),
        "rclone unverified": call("rclone", "--config", rclone, "copyto", "--ignore-checksum", file, f"host:{there}"),
        "ssh cat gcm": lambda: ground.shell('ssh -F "$1" -c "$2" 127.0.0.1 "cat > $4" < "$3"', config, GCM, file, there),
    }
    taken = race([Side(name, run, clean, check) for name, run in runs.items()], ground.rounds(5, 2), 0 if ground.is_quick else 1)
    ground.empty(ground.far)
    os.unlink(file)
    ours.forget()
    what = "256 MiB" if ground.is_quick else "1 GiB"
    reach = [Ratio("verified pipeline", 0.8), Ratio("rclone", 0.5), Ratio("scp", 1.0)]
    return [Row.of(f"{what} over SSH, verified there, renamed", taken, reach)]
