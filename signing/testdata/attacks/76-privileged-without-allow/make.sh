start
file deployments/blog/compose.yaml 'services:
  web:
    image: evil:1
    privileged: true
    network_mode: host
    volumes: ["/:/host"]
'
commit carol "Debug" tip
