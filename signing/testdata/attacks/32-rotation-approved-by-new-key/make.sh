threshold=2
start
cp "$keys/bob2.pub" keys/bob.pub
policy 2 >trust.yaml
commit alice "Bob has a new key" change
tag bob2 approve/trust/1 HEAD tag
approve bob2 change trust -- tip
