start
printf 'carol namespaces="file" %s\n' "$(cut -d' ' -f1,2 "$keys/carol.pub")" >keys/carol.allowed_signers
rm keys/carol.pub
policy 2 | sed 's|keys/carol.pub|keys/carol.allowed_signers|' >trust.yaml
commit alice "Carol signs files" tip
