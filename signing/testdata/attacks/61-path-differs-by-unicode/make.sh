start
deploy $'shop\xcc\x81' evil:1
commit carol "A new deployment" tip
