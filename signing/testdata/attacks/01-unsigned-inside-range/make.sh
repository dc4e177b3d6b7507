start
deploy blog blog:2
commit alice "A good change" before
deploy blog evil:1
commit nobody "Looks harmless" evil
file README "hello"
commit alice "Signed on top" tip
