start
branch topic
deploy blog blog:2
commit alice "Change of blog"
back main
merge hub "Merge pull request 1" topic -- clean
branch topic-2
file README hello
commit alice "Second"
back main
slip() { deploy blog evil:1; }
evil hub "Merge pull request 2" topic-2 tip slip
