start
deploy shop evil:1
commit alice "Change of shop" change
approve alice2 change shop -- tip
tag alice2 approve/shop/1 change tag
