start
plant 120000 deployments/blog/compose.yaml "$(printf ../shop/compose.yaml | git hash-object -w --stdin)"
commit_index alice "Share the file" tip
