start
policy 2 | grep -v 'carol' >trust.yaml
commit alice "Carol left" second
git checkout -q refs/labels/base -- trust.yaml
commit alice "Carol is back" tip
