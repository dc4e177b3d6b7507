start
signature HEAD >"$work/s"
deploy blog evil:1
commit nobody "Mine"
git cat-file commit HEAD >"$work/p"
join "$work/p" "$work/s" | store tip
