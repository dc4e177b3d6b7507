start
branch topic
now=4070908800
deploy blog evil:1
commit mallory "From the future" evil
now=1795440000
file README hello
commit alice "On top"
back main
merge alice "Merge" topic -- tip
