start
root='alice, bob, carol'
policy 2 >trust.yaml
commit carol "Carol too" tip
