start
branch topic
file README hello
commit alice "Harmless"
back main
slip() { policy 2 | sed 's/approvals: 2/approvals: 1/' >trust.yaml; }
evil alice "Merge topic" topic tip slip
