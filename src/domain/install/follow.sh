o=0
i=0
q=0
v=0
# Prints what is new of the output, from the offset o on.
new() {
  [ -d "$d/cutting" ] && return
  b=0
  [ -f "$d/base" ] && read -r b <"$d/base"
  # Asking for the size costs a process.
  z=0
  [ ! -s "$d/out" ] || size "$d/out"
  f=$z
  z=$((b+f))
  [ $((z-o)) -gt $((m+16777216)) ] && o=$((z-m))
  if [ "$o" -lt "$b" ]; then
    size "$d/tail"
    [ $((b-z)) -gt "$o" ] && o=$((b-z))
    printf '%s D %s %s\n' "$N" "$o" "$((b-o))"
    { tail -c "$((b-o))" "$d/tail"; cat /dev/zero; } 2>/dev/null | head -c "$((b-o))"
    o=$b
    z=$((b+f))
  fi
  while [ "$z" -gt "$o" ]; do
    # Was it cut since the last piece, then the rest is in the tail.
    [ -d "$d/cutting" ] && return
    x=0
    [ -f "$d/base" ] && read -r x <"$d/base"
    [ "$x" = "$b" ] || { new; return; }
    n=$((z-o))
    [ "$n" -gt 1048576 ] && n=1048576
    printf '%s D %s %s\n' "$N" "$o" "$n"
    # A large file may be emptied meanwhile; as many bytes as were promised have to come.
    { tail -c "+$((o-b+1))" "$d/out"; [ "$f" -gt 1048576 ] && cat /dev/zero; } 2>/dev/null | head -c "$n"
    o=$((o+n))
  done
}
# Whether process $1 is this install's, and not another one that got its number.
ours() {
  kill -s 0 "$1" 2>/dev/null || return 1
  if [ -r "/proc/$1/cmdline" ]; then
    x=$(tr '\000' ' ' <"/proc/$1/cmdline")
  else
    x=$(ps -ww -p "$1" -o args= 2>/dev/null) || { [ -z "$k" ] || same_boot; return; }
  fi
  case $x in *"$t"*) return 0 ;; esac
  return 1
}
# Whether nobody is left who could leave a status: neither what runs the command, nor the wrapper, nor what watches
# the time, which stays until the command is gone.
gone() {
  if [ ! -s "$d/ran/pid" ]; then
    q=$((q+1))
    [ "$q" -gt 20 ] || return 1
    # A slow host may still be about to start what we started. (Where the record was removed, what runs says nothing.)
    [ "$q" -lt 100 ] && [ -d "$d" ] && [ -n "$j" ] && kill -s 0 "$j" 2>/dev/null && return 1
    return 0
  fi
  read -r x y <"$d/ran/pid"
  w=
  [ -s "$d/watch" ] && read -r w <"$d/watch"
  for y in "$x" "$y" $w; do ours "$y" && return 1; done
  return 0
}
ended() {
  [ -f "$d/status" ] || return 1
  if [ -d "$d/cutting" ]; then
    v=$((v+1))
    [ "$v" -lt 40 ] && return 1
    rmdir "$d/cutting"
  fi
  new
  [ -d "$d/cutting" ] && return 1
  s=
  read -r s <"$d/status"
  printf '%s S %s\n' "$N" "$s"
}
while ! ended; do
  new
  i=$((i+1))
  if [ "$i" -gt "$((limit*2+240))" ]; then printf '%s E the wrapper runs beyond its limit\n' "$N"; exit 0; fi
  if [ "$i" -le 4 ]; then
    sleep 0.005 2>/dev/null || sleep 1
  elif [ "$i" -le 10 ]; then
    sleep 0.02 2>/dev/null || sleep 1
  else
    if gone; then
      sleep 1
      [ -f "$d/status" ] && continue
      new
      if [ -d "$d" ] && [ ! -d "$d/ran" ] && same_boot; then
        printf '%s E the wrapper did not start\n' "$N"
        exit 0
      fi
      lost
    fi
    if [ "$i" -le 30 ]; then
      sleep 0.1 2>/dev/null || sleep 1
    else
      sleep 0.5 2>/dev/null || sleep 1
    fi
    # Nobody listens any more where this cannot be written.
    printf '%s A\n' "$N" 2>/dev/null || exit 1
  fi
done
