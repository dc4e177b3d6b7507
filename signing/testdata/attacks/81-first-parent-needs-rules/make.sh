settings='history: first-parent'
start
branch topic
deploy shop evil:1
commit nobody "Unsigned"
back main
merge carol "Merge topic" topic -- tip
