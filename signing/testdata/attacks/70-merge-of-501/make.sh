start
tree=$(git rev-parse 'HEAD^{tree}')
at=$(git rev-parse HEAD)
for n in $(seq 500); do
	tick
	at=$(as alice commit-tree -S -p "$at" -m "$n" "$tree")
done
git update-ref refs/heads/topic "$at"
merge alice "Merge 500 commits" topic -- tip
