start
branch topic
deploy blog evil:1
commit nobody "On a side branch" evil
back main
file README "hello"
commit alice "Meanwhile"
label trunk
merge alice "Merge topic" topic -- tip
