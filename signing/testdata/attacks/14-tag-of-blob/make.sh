start
deploy shop evil:1
commit alice "Change of shop" tip
tag bob approve/shop/1 'HEAD^{tree}' tag
