use_gpg
more_keys=dave signers='  dave: {keys: [keys/dave.asc]}'
start
deploy blog blog:2
commit dave "A good one" good
deploy blog evil:1
commit dave "Another"
payload HEAD >"$work/p"
signature HEAD | sed '2s/^/Comment: hello\n/' >"$work/s"
join "$work/p" "$work/s" | store tip
