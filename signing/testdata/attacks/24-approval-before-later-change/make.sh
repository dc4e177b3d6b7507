start
deploy shop shop:2
commit alice "Looks fine" change
tag bob approve/shop/1 HEAD tag
approve bob change shop -- approved
deploy shop evil:1
commit alice "One more thing" tip
