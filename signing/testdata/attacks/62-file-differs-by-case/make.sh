start
file deployments/shop/Compose.yaml "$(compose evil:1)"
commit carol "A note" tip
