start
branch topic
deploy blog evil:1
commit nobody "Hidden" hidden
back main
file README hello
commit alice "Original"
hidden=$(git rev-parse refs/labels/hidden)
payload HEAD | sed "s/^author.*/&\nparent $hidden/" | resign alice tip
