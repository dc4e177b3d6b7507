start
deploy shop evil:1
commit alice "Change of shop" tip
tag bob approve/blog/1 HEAD tag-blog
