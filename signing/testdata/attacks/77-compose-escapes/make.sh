start
file deployments/blog/compose.yaml 'services:
  web:
    extends: {file: ../shop/compose.yaml, service: web}
    image: evil:1
'
commit carol "Share" tip
