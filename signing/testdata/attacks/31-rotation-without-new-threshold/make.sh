start
threshold=2 root='alice, carol'
policy 2 >trust.yaml
commit alice "Two of us from now on" change
file README hello
commit alice "And now" tip
