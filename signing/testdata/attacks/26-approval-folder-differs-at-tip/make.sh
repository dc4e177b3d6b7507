start
branch topic
deploy shop shop:2
commit alice "Change of shop" change
tag bob approve/shop/1 HEAD tag
back main
file README hello
commit alice "Meanwhile"
slip() { file deployments/shop/extra.env "X=evil"; }
evil alice "Merge topic" topic tip slip
