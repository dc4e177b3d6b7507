settings='history: first-parent'
start
branch topic
deploy blog evil:1
commit nobody "Unsigned"
back main
merge hub "Merge pull request 1" topic -- tip
