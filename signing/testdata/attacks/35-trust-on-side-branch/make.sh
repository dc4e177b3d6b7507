start
branch topic
policy 2 | sed 's/approvals: 2/approvals: 1/' >trust.yaml
commit alice "Simplify" change
back main
file README hello
commit alice "Meanwhile" trunk
merge alice "Merge" topic -- tip
