start
deploy blog blog:2
deploy shop evil:1
commit alice "Change of both" change
tag bob approve/blog/1 HEAD tag
approve bob change blog -- tip
