start
branch staging
deploy blog evil:1 # signed, for another purpose
commit alice "Only for staging" other
back main
deploy blog blog:2
commit alice "For production" newer
