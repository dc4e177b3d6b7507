start
branch topic
deploy shop evil:1
commit alice "Change of shop" change
back main
approve bob change shop -- early
merge alice "Merge" topic -- tip
