# Leaves the word on how it ended, unless one is there; waits for room on the disk if need be.
put() {
  until [ -f "$d/status" ] || { echo "$1" >"$d/status.$1" && mv -f "$d/status.$1" "$d/status"; } 2>/dev/null; do
    [ -d "$d" ] || exit 0
    sleep 5
  done
}
# Empties an output that has grown too long, and keeps its end: the command appends, so it goes on at the start.
bound() {
  size "$d/out"
  [ "$z" -gt "$most" ] || return 0
  mkdir "$d/cutting"
  { tail -c "$m" "$d/out"; printf '\n%s\n' "$mark"; } >"$d/tail"
  b=0
  [ -f "$d/base" ] && read -r b <"$d/base"
  size "$d/out"
  true >"$d/out"
  echo "$((b+z+${#mark}+2))" >"$d/base.new" && mv -f "$d/base.new" "$d/base"
  rmdir "$d/cutting"
}
# Beside the command, every second: its time, its output, and whether it is still there. Outlives the wrapper.
watch() {
  n=0
  while [ "$n" -lt "$limit" ]; do
    sleep 1
    n=$((n+1))
    if [ -f "$d/status" ] || ! alive; then exit 0; fi
    trap '' TERM
    bound
    trap - TERM
  done
  trap '' TERM
  finish
  put late
  exit 99
}
# Runs the command: whoever makes `ran` does, nobody else ever. Also outlives the wrapper, which has to have somebody
# watch the time first.
i='mkdir "$1/ran" || exit 0
no() { rm -f "$1/ran/pid"; rmdir "$1/ran"; exit 0; }
echo "$$ $2" >"$1/ran/pid" || no "$1"
n=0
until [ -s "$1/watch" ]; do
  if [ "$n" -eq 500 ] || ! kill -s 0 "$2"; then no "$1"; fi
  n=$((n+1))
  sleep 0.01 || sleep 1
done
"$3" -c "$4" 2>&1
s=$?
echo "$s" >"$1/status.in" && mv -f "$1/status.in" "$1/status"
exit "$s"'
true >"$d/watch"
detach /bin/sh -c "$i" sh "$d" "$$" "${SHELL:-/bin/sh}" "$c" </dev/null >>"$d/out" 2>/dev/null &
p=$!
watch </dev/null >/dev/null 2>&1 &
w=$!
echo "$w" >"$d/watch"
wait "$p"
s=$?
kill -s TERM "$w" 2>/dev/null
wait "$w"
[ "$?" -eq 99 ] && exit 0
# The command's own word is there, unless it was killed together with what ran it.
x=
[ -f "$d/ran/pid" ] && read -r x y <"$d/ran/pid"
[ "$x" = "$p" ] && put "$s"
