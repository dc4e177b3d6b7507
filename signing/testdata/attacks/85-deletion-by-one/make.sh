start
rm -r deployments/shop
commit carol "Remove shop" tip
