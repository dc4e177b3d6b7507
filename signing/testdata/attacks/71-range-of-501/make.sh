start
tree=$(git rev-parse 'HEAD^{tree}')
at=$(git rev-parse HEAD)
for n in $(seq 501); do
	tick
	at=$(as alice commit-tree -S -p "$at" -m "$n" "$tree")
done
git reset -q --hard "$at"
deploy blog blog:2
commit alice "At last" late
file README done
commit alice "Done" tip
