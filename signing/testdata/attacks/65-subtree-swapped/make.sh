start
git rm -q -r --cached deployments/shop
git read-tree --prefix=deployments/shop/ HEAD:deployments/blog
commit_index carol "Same as blog" tip
