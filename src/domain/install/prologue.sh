if command -v setsid >/dev/null 2>&1; then g=setsid; else g=; set -m 2>/dev/null; fi
cd "$HOME" 2>/dev/null || cd /
# Ends the process group of $3 when $2 seconds have passed; $1 is told before.
watch='sleep "$2"; if [ -n "$1" ]; then : >"$1/late"; else kill -s USR1 "$PPID"; fi
kill -s TERM -- "-$3"; n=0
while [ "$n" -lt 50 ] && kill -s 0 -- "-$3"; do sleep 0.1 || sleep 1; n=$((n+1)); done
kill -s KILL -- "-$3"'
