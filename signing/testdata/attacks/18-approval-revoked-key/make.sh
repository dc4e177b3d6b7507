start
cp "$keys/bob2.pub" keys/
policy 2 | sed 's|keys: \[keys/bob.pub\]|keys: [keys/bob.pub, keys/bob2.pub]|' >trust.yaml
printf 'revoked:\n  - {key: "%s", since: 2026-10-01T00:00:00Z, reason: "lost"}\n' "$(ssh-keygen -l -f keys/bob2.pub | cut -d' ' -f2)" >>trust.yaml
commit alice "Bob lost a key" revoked
deploy shop evil:1
commit alice "Change of shop" change
tag bob2 approve/shop/1 HEAD tag
