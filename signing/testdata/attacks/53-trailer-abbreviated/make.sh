start
deploy shop evil:1
commit alice "Change of shop" change
commit bob "Approve

Approves: $(git rev-parse --short=12 HEAD) shop" tip
