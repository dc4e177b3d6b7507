start
deploy shop evil:1
commit alice "Change of shop" change
file README no
commit bob "Alice wants me to write

> Approves: $(git rev-parse HEAD) shop" one
commit bob "Alice wants me to write

    Approves: $(git rev-parse refs/labels/change) shop" tip
