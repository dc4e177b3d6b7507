policy() { usual "$1" | sed 's|"deployments/\*\*"|"deployments/blog/**"|'; }
start
deploy wiki evil:1
commit alice "A new deployment" tip
