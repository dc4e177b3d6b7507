start
git checkout -q --orphan alien
deploy blog evil:1
commit alice "A root of its own" alien
back main
tick
as alice merge -q --no-ff -S --allow-unrelated-histories -s ours -m "Merge" alien >/dev/null
label tip
