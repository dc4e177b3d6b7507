start
deploy shop shop:2
commit alice "Second" second
tag bob approve/shop/1 HEAD tag-second
deploy shop evil:1
commit alice "Third" third
tag mallory approve/shop/1 HEAD forged
