start
deploy blog blog:2
file cluster.yaml 'nodes: {n1: {availability: drain}}
'
commit carol "Change of blog" tip
tag bob approve/all/1 HEAD tag
