start
deploy shop evil:1
commit alice "Change of shop" change
tag ci approve/shop/1 HEAD tag
approve ci change shop -- tip
