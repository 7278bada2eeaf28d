# Where no program makes a session, job control makes a group, in shells that need no terminal for it.
[ -n "$ad_g" ] || set -m 2>/dev/null
cd "$HOME" 2>/dev/null || cd /
# The command is the process group of $p; where it got none, $p and what descends from it.
alive() { kill -s 0 -- "-$p" 2>/dev/null || kill -s 0 "$p" 2>/dev/null; }
kin() { echo "$1"; ps -A -o ppid= -o pid= 2>/dev/null | while read -r a x; do [ "$a" = "$1" ] && kin "$x"; done; }
finish() {
  if kill -s 0 -- "-$p" 2>/dev/null; then k=-$p; else k=$(kin "$p"); fi
  kill -s TERM -- $k 2>/dev/null
  n=0
  while [ "$n" -lt 50 ] && kill -s 0 -- $k 2>/dev/null; do sleep 0.1 2>/dev/null || sleep 1; n=$((n+1)); done
  kill -s KILL -- $k 2>/dev/null
}
