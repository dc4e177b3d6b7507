start
branch topic
file README hello
commit alice "Side"
back main
deploy shop shop:2
commit alice "Mend" mended
approve bob mended shop -- approved
resurrect() { git checkout -q refs/labels/base -- deployments/shop; }
evil alice "Merge topic" topic tip resurrect
