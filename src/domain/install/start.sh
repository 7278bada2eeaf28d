b=$HOME/.auto-dispatcher
d=$b/$t
k=
read -r k 2>/dev/null </proc/sys/kernel/random/boot_id || k=$(boot)
same_boot() { [ -n "$k" ] && [ "$k" = "$(cat "$d/boot" 2>/dev/null)" ]; }
lost() { printf '%s L\n' "$N"; exit 0; }
if [ "$R" -eq 1 ]; then
  # The command may have begun: where its record is gone, or is from before a reset, nobody knows.
  [ -f "$d/run" ] || lost
  [ -d "$d/ran" ] || same_boot || lost
else
  if ! e=$( {
    LC_ALL=C; export LC_ALL; umask 077
    # Another install that is forgotten at this moment takes the directory above away when it leaves it empty.
    i=0
    until mkdir -p "$d" 2>/dev/null || [ "$i" -eq 20 ]; do i=$((i+1)); done
    { [ -d "$d" ] || mkdir -p "$d"; } && if [ ! -d "$d/ran" ]; then
      # One that is there may be half written, or be read by a shell at this moment: it is replaced as a whole.
      set -C
      if [ -e "$d/run" ] || ! printf '%s\n' "$w" >"$d/run"; then
        set +C
        printf '%s\n' "$w" >"$d/run.$$" && mv -f "$d/run.$$" "$d/run"
      fi && set +C && echo "$k" >"$d/boot" && true >>"$d/out"
    fi
  } 2>&1 ); then
    # A shell whose own printf or echo cannot write says no more than that.
    case $e in *'I/O error'*) e="$e (no space left on device?)" ;; esac
    printf '%s E %s\n' "$N" "$e"
    exit 1
  fi
  # Nothing has run yet, and nothing does before it is on record at the other end, too. (The empty line is for a
  # reader that keeps a last newline back: a mark may begin with it.)
  printf '%s P\n\n' "$N"
  IFS= read -r x
  [ "$x" = "$N" ] || exit 0
fi
j=
if [ ! -d "$d/ran" ]; then
  detach /bin/sh "$d/run" </dev/null >/dev/null 2>&1 &
  j=$!
fi
