start
good=$(git rev-parse HEAD:deployments/blog/compose.yaml)
bad=$(compose evil:1 | git hash-object -w --stdin)
entry() { printf '%s %s\0' "$1" "$2"; printf "$(sed 's/../\\x&/g' <<<"$3")"; }
object() { git hash-object -w -t tree --literally --stdin; }
blog=$( (entry 100644 compose.yaml "$good"; entry 100644 compose.yaml "$bad") | object)
folders=$( (entry 40000 blog "$blog"; entry 40000 shop "$(git rev-parse HEAD:deployments/shop)") | object)
root=$( (entry 40000 deployments "$folders"; entry 40000 keys "$(git rev-parse HEAD:keys)"; entry 100644 trust.yaml "$(git rev-parse HEAD:trust.yaml)") | object)
tick
git update-ref HEAD "$(as alice commit-tree -S -p HEAD -m "Change of blog" "$root")"
label tip
