start
branch topic
now=60
deploy blog evil:1
commit nobody "Ancient" evil
commit alice "Also ancient"
back main
now=1795440000
merge alice "Merge" topic -- tip
