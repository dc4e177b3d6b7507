start
root=bob
policy 2 | grep -v 'alice:' >trust.yaml
rm keys/alice*.pub
commit bob "Alice left" rotated
now=1795435200
deploy blog evil:1
commit alice "Still me" tip
