"""A line of 50 ms and 1 Gbit/s: a large package, and a small one that nobody has a connection for."""
from .commits import KB
from .ours import Ours, rule
from .race import Ratio, Row, Side, race
from .relay import Line, proved

ROUND_TRIP_MS, MBIT = 50, 1000

# The file in eight parts at once, each written at its place; a ninth connection, opened meanwhile, has them checked.
PARTS = """
config=$1 file=$2 name=$3 shared=$4 size=$(stat -c %s "$2")
ssh -F "$config" -M -S "$shared" -f -N 127.0.0.1 & pids=($!)
openssl dgst -sha256 -r "$file" > "$file.sum" & pids+=($!)
part=$(((size / 8 + 1048575) / 1048576))
for i in 0 1 2 3 4 5 6 7; do
    dd if="$file" bs=1M skip=$((i * part)) count=$part status=none |
        ssh -F "$config" -c aes128-gcm@openssh.com 127.0.0.1 \
            "dd of=$name.part bs=1M seek=$((i * part)) iflag=fullblock conv=notrunc status=none" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
read -r sum _ < "$file.sum"
ssh -F "$config" -S "$shared" 127.0.0.1 "
    [ \\"\\$(openssl dgst -sha256 -r < $name.part | cut -d' ' -f1)\\" = $sum ] && mv $name.part $name"
ssh -F "$config" -S "$shared" -O exit 127.0.0.1
"""
ONE = """
sum=$(sha256sum < "$2")
ssh -F "$1" 127.0.0.1 "set -e; cat > $3.part; echo '${sum%% *}  $3.part' | sha256sum --status -c; mv $3.part $3" < "$2"
"""


def wire(ground):
    free, held, trip = proved(ground, ROUND_TRIP_MS, MBIT)
    line = Line(ground, ground.port, ROUND_TRIP_MS / 2, MBIT)
    config = ground.client("ssh_config_wire", line.port)
    rclone = ground.rclone("rclone_wire.conf", line.port)
    size = (40 if ground.is_quick else 100) * KB * KB
    file = ground.random_file(ground.memory / "wire.bin", size)
    ours = Ours(ground, "wire", rule(ground, ssh_port=line.port))
    there = ground.far / "wire.bin"

    def sides(file, runs):
        clean, check = (lambda: ground.empty(ground.far)), (lambda: ground.same(file, there))
        return [Side(name, run, clean, check) for name, run in runs.items()]

    lftp = (f"set sftp:connect-program 'ssh -a -x -F {config}'; open -u {ground.login}, sftp://127.0.0.1:{line.port}; "
            f"put {file} -o {there}")
    bulk = sides(file, {
        "ours": lambda: ours.send(file),
        "scp": lambda: ground.run("scp", "-q", "-F", config, file, f"127.0.0.1:{there}"),
        "lftp": lambda: ground.run("lftp", "--norc", "-c", lftp),
        "rclone": lambda: ground.run("rclone", "--config", rclone, "copyto", file, f"host:{there}"),
        "8 ssh in parts, SHA-256": lambda: ground.shell(PARTS, config, file, there, ground.memory / "shared"),
    })
    note = f"line measured: {free / 1000:.1f} Gbit/s unheld, {held:.0f} Mbit/s held, round trip {trip:.1f} ms"
    rows = [Row.of(f"{size // KB // KB} MB, {ROUND_TRIP_MS} ms, 1 Gbit/s", race(bulk, ground.rounds(5, 2), 0),
                   [Ratio("scp", 0.5)], note=note)]
    small = ground.random_file(ground.memory / "small/wire.bin", 10 * KB)
    cold = sides(small, {
        "ours": lambda: ours.send(small),
        "one ssh": lambda: ground.run("sh", "-ec", 'ssh -F "$1" 127.0.0.1 "cat > $3" < "$2"', "sh", config, small, there),
        "one ssh, SHA-256, rename": lambda: ground.run("sh", "-ec", ONE, "sh", config, small, there),
        "scp -O": lambda: ground.run("scp", "-q", "-O", "-F", config, small, f"127.0.0.1:{there}"),
        "scp": lambda: ground.run("scp", "-q", "-F", config, small, f"127.0.0.1:{there}"),
    })
    rows.append(Row.of(f"10 KB, {ROUND_TRIP_MS} ms, cold", race(cold, ground.rounds(9, 3), 1), [Ratio("one ssh", 1.0)]))
    line.end()
    return rows
