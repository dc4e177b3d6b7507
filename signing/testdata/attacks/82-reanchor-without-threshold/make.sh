threshold=2
start
deploy blog blog:2
commit alice "Newer" newer
branch other refs/labels/base
deploy blog evil:1
commit alice "Another history" rewritten
tag alice approve/reanchor/1 HEAD order "Reanchor: $(git rev-parse refs/labels/newer)"
