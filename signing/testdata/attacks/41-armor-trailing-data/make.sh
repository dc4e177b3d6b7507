start
deploy blog evil:1
commit alice "Original"
payload HEAD >"$work/p"
{ signature HEAD; echo "and more"; } >"$work/s"
join "$work/p" "$work/s" | store tip
