start
branch topic
file README hello
commit alice "Side"
back main
deploy blog blog:2
commit alice "Mend" trunk
back topic
merge alice "The wrong way round" main -- tip
