start
deploy shop evil:1
commit alice "Change of shop" tip
tag nobody approve/shop/1 HEAD tag
