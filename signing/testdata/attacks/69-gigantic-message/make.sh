start
deploy blog evil:1
git add -A
tick
head -c 2097152 /dev/zero | tr '\0' x >"$work/message"
as alice commit -q -S -F "$work/message"
label tip
