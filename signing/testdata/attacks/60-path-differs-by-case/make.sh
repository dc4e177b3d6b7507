start
deploy Shop evil:1
commit carol "A new deployment" tip
