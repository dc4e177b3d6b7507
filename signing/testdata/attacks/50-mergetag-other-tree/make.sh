start
branch reviewed
deploy shop shop:2
commit alice "What bob saw" seen
tick
as bob tag -s -m "Approve" approve/shop/1 HEAD
branch topic main
deploy shop evil:1
commit alice "What is merged"
back main
# A merge of the tag records it; the merged branch is then another.
merge alice "Merge" topic
{
	payload HEAD | sed '/^$/,$d'
	printf 'mergetag %s\n' "$(git cat-file tag approve/shop/1 | sed '2,$s/^/ /')"
	printf '\nMerge\n'
} | resign alice tip
