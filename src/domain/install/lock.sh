# Whoever makes this directory runs the command; nobody else ever does.
mkdir "$d/began" 2>/dev/null || exit 0
cat /proc/sys/kernel/random/boot_id >"$d/boot" 2>/dev/null
until { echo "$$" >"$d/pid.new" && mv -f "$d/pid.new" "$d/pid"; } 2>/dev/null; do [ -d "$d" ] || exit 0; sleep 1; done
