package signing

func trailerCases() []approvalCase {
	waiting := func(r *testRepo, base Hash) Hash { return r.commit("carol", "Two", shop("2"), base) }
	const still = `blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`
	return []approvalCase{
		{"by the one whom the rule names", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", approves("Approve", two, "shop"), nil, two)
		}, `
at Approve
  - Two by carol, 1 paths
  - Approve by bob, 0 paths
blog: Start by bob in Start
shop: Approve by bob in Approve as a whole, new
`},
		{"by another", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("alice", approves("Approve", two, "shop"), nil, two)
		}, `
at Approve
  - Two by carol, 1 paths
  - Approve by alice, 0 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: alice in Approve as a whole, carol in Two
shop waits: deployments/shop/compose.yaml; has alice carol, needs 1 of bob
`},
		{"of another content", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", approves("Approve", base, "shop"), nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
		{"of another deployment", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", approves("Approve", two, "blog", "none"), nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
		{"of a commit that nobody has", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", approves("Approve", Hash{1}, "shop"), nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
		{"of a commit of another branch", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			other := r.commit("carol", "Other", shop("2"), base)
			return r.commit("bob", approves("Approve", other, "shop"), nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
		{"with a short hash", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", "Approve\n\nApproves: "+two.Short()+" shop", nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
		{"in a body, not a trailer", func(r *testRepo, base Hash) Hash {
			two := waiting(r, base)
			return r.commit("bob", approves("Approve", two, "shop")+"\n\nMore text.", nil, two)
		}, "\nat Approve\n  - Two by carol, 1 paths\n  - Approve by bob, 0 paths\n" + still},
	}
}

func lateTrailerCases() []approvalCase {
	return []approvalCase{
		{"before the content came", func(r *testRepo, base Hash) Hash {
			side := r.commit("carol", "Side", shop("2"), base)
			yes := r.commit("bob", approves("Approve", side, "shop"), nil, side)
			return r.merge("carol", "Merge", nil, base, base, yes)
		}, `
at Merge
  - Side by carol, 1 paths
  - Approve by bob, 0 paths
  - Merge by carol, 0 paths
blog: Start by bob in Start
shop: Merge by bob in Approve as a whole, new
`},
		{"of a side branch that the branch has outrun", func(r *testRepo, base Hash) Hash {
			side := r.commit("carol", "Side", shop("2"), base)
			yes := r.commit("bob", approves("Approve", side, "shop"), nil, side)
			main := r.commit("carol", "Two", edits{"deployments/shop/.env": "1"}, base)
			return r.merge("carol", "Merge", nil, base, main, yes)
		}, `
at Merge
  - Two by carol, 1 paths
  - Side by carol, 1 paths
  - Approve by bob, 0 paths
  - Merge by carol, 0 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/.env: carol in Two
  deployments/shop/compose.yaml: carol in Side
shop waits: deployments/shop/.env deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"is void when the unit changes again", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", edits{"deployments/shop/images.env": "2", "deployments/shop/compose.yaml": "2"}, base)
			yes := r.commit("bob", approves("Approve", two, "shop"), nil, two)
			return r.commit("ci", "Three", edits{"deployments/shop/images.env": "3"}, yes)
		}, `
at Three
  - Two by carol, 2 paths
  - Approve by bob, 0 paths
  - Three by ci, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
  deployments/shop/images.env: ci in Three
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"adds up with another's", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", edits{"deployments/shop/images.env": "2", "deployments/shop/compose.yaml": "2"}, base)
			yes := r.commit("bob", approves("Approve", two, "shop"), nil, two)
			return r.commit("ci", approves("Approve too", yes, "shop"), nil, yes)
		}, `
at Approve too
  - Two by carol, 2 paths
  - Approve by bob, 0 paths
  - Approve too by ci, 0 paths
blog: Start by bob in Start
shop: Approve too by bob in Approve as a whole, ci in Approve too as a whole, new
`},
		{"of a removal and of cluster.yaml", func(r *testRepo, base Hash) Hash {
			two := r.commit("ci", "Two", edits{"cluster.yaml": "1", "deployments/blog/compose.yaml": gone}, base)
			return r.commit("alice", approves("Approve", two, "cluster", "blog"), nil, two)
		}, `
at Approve
  - Two by ci, 2 paths
  - Approve by alice, 0 paths
cluster: Approve by alice in Approve as a whole, new
shop: Start by bob in Start
blog: removed
`},
	}
}
