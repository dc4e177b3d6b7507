start
deploy blog blog:2
commit alice "Close a hole" newer
