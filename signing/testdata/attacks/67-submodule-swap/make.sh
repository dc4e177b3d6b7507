start
git rm -q -r --cached deployments/blog
plant 160000 deployments/blog 1111111111111111111111111111111111111111
commit_index alice "Move blog out" tip
