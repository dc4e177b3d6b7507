start
deploy shop evil:1
commit alice "Change of shop" change
commit bob "Approves: $(git rev-parse HEAD) shop" tip
