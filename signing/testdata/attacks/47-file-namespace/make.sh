start
deploy blog evil:1
commit nobody "Mine"
git cat-file commit HEAD >"$work/p"
ssh-keygen -q -Y sign -n file -f "$keys/alice" "$work/p" 2>/dev/null
join "$work/p" "$work/p.sig" | store tip
