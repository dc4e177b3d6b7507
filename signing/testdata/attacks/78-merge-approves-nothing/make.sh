start
branch topic
deploy shop evil:1
commit alice "Change of shop" change
back main
file README hello
commit alice "Meanwhile"
merge bob "Merge topic" topic -- tip
