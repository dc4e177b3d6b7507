start
file README hello
commit alice "Original"
{ payload HEAD; printf 'hidden\0part\n'; } >"$work/payload"
ssh-keygen -q -Y sign -n git -f "$keys/alice" "$work/payload" 2>/dev/null
{
	sed '/^$/,$d' "$work/payload"
	printf 'gpgsig %s\n' "$(sed '2,$s/^/ /' "$work/payload.sig")"
	printf '\nOriginal\nhidden\0part\n'
} | store tip
