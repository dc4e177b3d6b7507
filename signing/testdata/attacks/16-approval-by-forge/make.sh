start
deploy shop evil:1
commit alice "Change of shop" change
tag hub approve/shop/1 HEAD tag
approve hub change shop -- tip
