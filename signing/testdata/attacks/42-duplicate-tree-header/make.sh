start
deploy blog evil:1
git add -A
other=$(git write-tree)
git reset -q --hard
file README hello
commit alice "Original"
payload HEAD | sed "1s/\$/\ntree $other/" | resign alice tip
