"""One large file to one host, from `send` to renamed there."""
from .ground import GIB, MIB
from .ours import Ours, rule
from .race import BestRatio, Ratio, Row, Side, race

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
# The host reads again what it has written; which of the two is faster depends on the machine.
REREAD = VERIFIED.replace("tee $name.part | openssl dgst -sha256 -r", "cat > $name.part && openssl dgst -sha256 -r $name.part")


def large(ground):
    size = (256 * MIB) if ground.is_quick else GIB
    file = ground.random_file(ground.memory / "large.bin", size)
    there = ground.far / "large.bin"
    ours = Ours(ground, "large", rule(ground))
    config = ground.ssh_config
    shared = ground.client("ssh_config_large", ground.port, shared=True)
    rclone = ground.rclone("rclone.conf", ground.port)
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
        ground.disconnect(shared)

    def check():
        ground.same(file, there)

    lftp = (f"set sftp:connect-program 'ssh -a -x -F {config}'; open -u {ground.login}, sftp://127.0.0.1:{ground.port}; "
            f"put {file} -o {there}")
    runs = {
        "ours": lambda: ours.send(file),
        "pipeline, SHA-256": lambda: ground.shell(VERIFIED, shared, file, there),
        "pipeline, SHA-256 afterwards": lambda: ground.shell(REREAD, shared, file, there),
        "scp": scp(), "scp gcm": scp("-c", GCM), "scp -O gcm": scp("-O", "-c", GCM),
        "rsync": rsync(), "rsync gcm": rsync("-c", GCM),
        "lftp": call("lftp", "--norc", "-c", lftp),
        "rclone": call("rclone", "--config", rclone, "copyto", file, f"host:{there}"),
        "rclone unverified": call("rclone", "--config", rclone, "copyto", "--ignore-checksum", file, f"host:{there}"),
        "ssh cat gcm": lambda: ground.shell('ssh -F "$1" -c "$2" 127.0.0.1 "cat > $4" < "$3"', config, GCM, file, there),
    }
    sides = [Side(name, run, clean, check) for name, run in runs.items()]
    taken = race(sides, ground.rounds(5, 2), 0 if ground.is_quick else 1)
    ground.disconnect(shared)
    what = "256 MiB" if ground.is_quick else "1 GiB"
    pipelines = ["pipeline, SHA-256", "pipeline, SHA-256 afterwards"]
    reach = [BestRatio(pipelines, 0.8, "the better pipeline"), Ratio("rclone", 0.5), Ratio("scp", 1.0)]
    return [Row.of(f"{what} over SSH, verified there, renamed", taken, reach)]
