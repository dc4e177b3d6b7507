start
mkdir deployments/shop-2
git mv deployments/shop/compose.yaml deployments/shop-2/compose.yaml
commit carol "Rename shop" tip
