start
route() { file "deployments/$1/jaco.yaml" "deployment: $1
routes:
  - domain: shop.example.com
    service: web
    port: 80
"; }
route shop
commit alice "Serve shop" change
approve bob change shop -- route
route blog
commit carol "Serve blog" tip
