policy() { usual "$1" | sed 's|carol: {keys: \[keys/carol.pub\]}|carol: {keys: [keys/carol.pub], valid_until: 2026-11-23}|'; }
start
deploy shop evil:1
commit alice "Change of shop" change
now=1794787200 # a week ago
tag carol approve/shop/1 HEAD tag
approve carol change shop -- tip
