start
file deployments/blog/compose.yaml 'services:
  web:
    image: evil:1
    volumes: ["data:/data"]
volumes:
  data:
    name: shop_data
    external: true
'
commit carol "Use a volume" tip
