start
for n in 1 2; do
	branch "topic-$n" main
	file "README-$n" hello
	commit alice "Side $n"
done
branch topic-3 main
file deployments/blog/note.txt "evil"
commit nobody "Side 3" evil
back main
merge alice "Octopus" topic-1 topic-2 topic-3 -- tip
