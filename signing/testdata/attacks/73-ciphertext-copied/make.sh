start
printf 'PASSWORD=ENC[AES256_GCM,data:9Rk=,iv:AAAA,tag:BBBB,type:str]\nsops_age__list_0__map_recipient=age1shop\n' >deployments/shop/db.sops.env
commit alice "A secret of shop" change
approve bob change shop -- secret
cp deployments/shop/db.sops.env deployments/blog/db.sops.env
commit carol "Borrow it" tip
