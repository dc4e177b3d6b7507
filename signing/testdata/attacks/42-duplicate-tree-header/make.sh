start
deploy blog evil:1
git add -A
other=$(git write-tree)
git reset -q --hard
file README hello
commit alice "Original"
payload HEAD >"$work/original"
sed "1s/\$/\ntree $other/" "$work/original" | resign alice early
sed "s/^parent.*/&\ntree $other/" "$work/original" | resign alice tip
