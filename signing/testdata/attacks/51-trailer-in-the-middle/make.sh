start
deploy shop evil:1
commit alice "Change of shop" change
file README no
commit bob "I do not want this

Approves: $(git rev-parse HEAD) shop

was what alice asked for, and I said no." tip
