start
deploy shop evil:1
commit alice "Change of shop" change
file README "bob was here"
commit bob "Something else" tip
