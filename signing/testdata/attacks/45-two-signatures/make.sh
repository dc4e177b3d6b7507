start
deploy blog evil:1
commit alice "Original"
payload HEAD >"$work/p"
signature HEAD >"$work/s"
join "$work/p" "$work/s" >"$work/once"
join "$work/once" "$work/s" | store tip
