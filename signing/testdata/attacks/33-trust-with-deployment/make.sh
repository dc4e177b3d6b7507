start
policy 2 | sed 's/approvals: 2/approvals: 1/' >trust.yaml
deploy shop evil:1
commit alice "Simplify" tip
