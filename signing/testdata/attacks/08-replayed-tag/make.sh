start
deploy shop shop:2
commit alice "With a hole" second
tag bob approve/shop/1 HEAD tag-second
deploy shop shop:3
commit alice "Mended" third
tag bob approve/shop/2 HEAD tag-third
deploy shop shop:2
commit alice "The hole again" replay
