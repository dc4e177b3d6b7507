policy() {
	printf 'carol namespaces="git",valid-after="20270101" %s\n' "$(cut -d' ' -f1,2 "$keys/carol.pub")" >keys/carol.allowed_signers
	rm -f keys/carol.pub
	usual "$1" | sed 's|keys/carol.pub|keys/carol.allowed_signers|'
}
start
deploy shop shop:2
commit alice "Change of shop" change
tag carol approve/shop/1 HEAD tag
approve carol change shop -- tip
file README "happy new year"
commit alice "Next year" later
