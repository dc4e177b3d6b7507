threshold=2
start
cp "$keys/mallory.pub" keys/bob.pub
policy 2 >trust.yaml
commit alice "Bob has a new key" change
deploy blog evil:1
commit alice "And now" tip
