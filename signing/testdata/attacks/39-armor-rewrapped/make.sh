start
deploy blog evil:1
commit alice "Original"
payload HEAD >"$work/p"
signature HEAD >"$work/s"
{ head -n 1 "$work/s"; sed '1d;$d' "$work/s" | tr -d '\n' | fold -w 60; echo; tail -n 1 "$work/s"; } >"$work/s2"
join "$work/p" "$work/s2" | store tip
