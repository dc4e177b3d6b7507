start
branch topic
deploy shop shop:2
commit alice "Change of shop" change
approve bob change shop
back main
slip() { deploy shop evil:1; }
evil carol "Merge topic" topic tip slip
