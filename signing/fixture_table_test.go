package signing

import "slices"

// fixture is one commit of testdata/fixtures: what we say of it, what git
// says, and why the two differ where they do.
type fixture struct {
	name string
	want error      // nil: accepted
	text string     // part of the error
	git  gitVerdict // of git verify-commit
	why  string     // where the verdicts differ, and only there
}

// fixtureTable lists every fixture. We are stricter than git on purpose, and
// never more lenient.
func fixtureTable() []fixture {
	return slices.Concat(agreedFixtures(), weakFixtures(), malleableFixtures(), malformedFixtures())
}

// agreedFixtures are those of which git says the same.
func agreedFixtures() []fixture {
	return []fixture{
		{name: "openpgp-ed25519", git: gitAccepts},
		{name: "openpgp-rsa3072", git: gitAccepts},
		{name: "openpgp-nistp256", git: gitAccepts},
		{name: "openpgp-subkey", git: gitAccepts},
		{name: "ssh-ed25519", git: gitAccepts},
		{name: "ssh-ecdsa-p256", git: gitAccepts},
		{name: "ssh-rsa3072", git: gitAccepts},
		{name: "ssh-sha256", git: gitAccepts},
		{name: "merge", git: gitAccepts},
		{name: "mergetag", git: gitAccepts},
		{name: "encoding", git: gitAccepts},
		{name: "unsigned", want: ErrUnsigned, git: gitRefuses},
		{name: "stripped", want: ErrUnsigned, git: gitRefuses},
		{name: "ssh-unknown", want: ErrUnknownKey, text: "ssh-ed25519 SHA256:", git: gitRefuses},
		{name: "openpgp-unknown", want: ErrUnknownKey, text: "openpgp ", git: gitRefuses},
		{name: "tampered-tree", want: ErrBadSignature, text: "what was signed is not this", git: gitRefuses},
		{name: "tampered-message", want: ErrBadSignature, text: "what was signed is not this", git: gitRefuses},
		{name: "tampered-author", want: ErrBadSignature, text: "what was signed is not this", git: gitRefuses},
		{name: "tampered-message-openpgp", want: ErrBadSignature, text: "what was signed is not this", git: gitRefuses},
		{name: "swapped-signature", want: ErrBadSignature, text: "what was signed is not this", git: gitRefuses},
		{name: "ssh-wrong-namespace", want: ErrBadSignature, text: "namespace \"file\"", git: gitRefuses},
		{name: "openpgp-revoked", want: ErrKeyRevoked, text: "own key block", git: gitRefuses},
		{name: "openpgp-two-packets", want: ErrBadSignature, text: "second signature", git: gitRefuses},
		{name: "short-tree-id", want: ErrMalformed, text: "header line 1", git: gitRefuses},
	}
}

// weakFixtures carry an algorithm or a key that no longer proves who signed.
func weakFixtures() []fixture {
	const present = "older versions of git refuse an expired key, recent ones accept it; we judge by the present time, since the signature's own time is its maker's choice"
	return []fixture{
		{name: "openpgp-expired", want: ErrKeyExpired, text: "2025-03-01", git: gitDiffers, why: present},
		{name: "openpgp-backdated", want: ErrKeyExpired, text: "2025-03-01", git: gitDiffers, why: present},
		{name: "openpgp-sha1", want: ErrBadSignature, text: "SHA-1", git: gitAccepts,
			why: "collisions in SHA-1 are affordable, gpg takes it for data signatures"},
		{name: "openpgp-rsa2048", want: ErrUnknownKey, text: "openpgp ", git: gitAccepts,
			why: "RSA under 3072 bits is no key for us: ParseKeys refuses it, so no keyring holds it"},
		{name: "openpgp-dsa", want: ErrBadSignature, text: "DSA", git: gitAccepts, why: "DSA is refused"},
		{name: "openpgp-text", want: ErrBadSignature, text: "type 0x01", git: gitAccepts,
			why: "a text signature covers the payload with its line ends rewritten: other bytes than git's object"},
	}
}

// malleableFixtures carry a good signature in another spelling: the same signed
// commit under another id, made without the key.
func malleableFixtures() []fixture {
	const id = "the id could be changed without the key: "
	return []fixture{
		{name: "ssh-rewrapped", want: ErrBadSignature, text: "lines of 70", git: gitAccepts,
			why: id + "other line lengths in the armor"},
		{name: "ssh-trailing-data", want: ErrBadSignature, text: "trailing data", git: gitAccepts,
			why: id + "text behind the armor, which ssh-keygen ignores"},
		{name: "ssh-trailing-newline", want: ErrBadSignature, text: "trailing data", git: gitAccepts,
			why: id + "an empty line behind the armor"},
		{name: "ssh-two-blocks", want: ErrBadSignature, text: "more than one armored block", git: gitAccepts,
			why: id + "ssh-keygen looks at the first block only"},
		{name: "ssh-reserved", want: ErrBadSignature, text: "reserved part", git: gitAccepts,
			why: id + "the reserved part is not signed"},
		{name: "openpgp-comment", want: ErrBadSignature, text: "headers", git: gitAccepts,
			why: id + "armor headers are not signed"},
		{name: "openpgp-no-checksum", want: ErrBadSignature, text: "checksum", git: gitAccepts,
			why: id + "the armor's checksum is optional for gpg"},
		{name: "openpgp-new-header", want: ErrBadSignature, text: "packet header", git: gitAccepts,
			why: id + "the packet header has two formats"},
		{name: "openpgp-long-header", want: ErrBadSignature, text: "length is not canonical", git: gitAccepts,
			why: id + "the packet length has several forms"},
		{name: "openpgp-unhashed", want: ErrBadSignature, text: "unsigned OpenPGP subpackets", git: gitAccepts,
			why: id + "unhashed subpackets are not signed"},
		{name: "openpgp-digest-tag", want: ErrBadSignature, text: "first two bytes", git: gitAccepts,
			why: id + "gpg does not compare the two bytes of the digest in the packet"},
		{name: "two-gpgsig-headers", want: ErrMalformed, text: "unexpected header \"gpgsig\"", git: gitAccepts,
			why: "git joins both headers, and ssh-keygen looks at the first block only"},
		{name: "junk-gpgsig-sha256", want: ErrMalformed, text: "\"gpgsig-sha256\"", git: gitAccepts,
			why: id + "git leaves this header out of the payload without a look at it"},
	}
}

// malformedFixtures are well signed, but not a commit that git would write, or
// of a tree that must not be deployed.
func malformedFixtures() []fixture {
	const anyBytes = "git verify-commit checks the signature over whatever bytes; readers of the commit may see different things in it"
	const noTree = "git verify-commit does not look at the tree"
	return []fixture{
		{name: "duplicate-tree-header", want: ErrMalformed, text: "got \"tree\"", git: gitAccepts, why: anyBytes},
		{name: "no-author", want: ErrMalformed, text: "want header \"author\"", git: gitAccepts, why: anyBytes},
		{name: "author-after-committer", want: ErrMalformed, text: "want header \"author\"", git: gitAccepts,
			why: anyBytes},
		{name: "unknown-header", want: ErrMalformed, text: "unexpected header \"x-note\"", git: gitAccepts,
			why: anyBytes},
		{name: "padded-date", want: ErrMalformed, text: "seconds since 1970", git: gitAccepts, why: anyBytes},
		{name: "tampered-tree-object", want: ErrTampered, text: "the bytes have the id", git: gitAccepts,
			why: noTree},
		{name: "tree-unsorted", want: ErrMalformed, text: "out of order", git: gitAccepts, why: noTree},
		{name: "tree-duplicate", want: ErrMalformed, text: "stands twice", git: gitAccepts, why: noTree},
		{name: "tree-duplicate-apart", want: ErrMalformed, text: "stands twice", git: gitAccepts, why: noTree},
		{name: "tree-dotdot", want: ErrMalformed, text: "not a name", git: gitAccepts, why: noTree},
		{name: "tree-dotgit", want: ErrMalformed, text: "git's own directory", git: gitAccepts, why: noTree},
		{name: "tree-slash", want: ErrMalformed, text: "a slash", git: gitAccepts, why: noTree},
		{name: "tree-mode", want: ErrMalformed, text: "not canonical", git: gitAccepts, why: noTree},
		{name: "tree-padded-mode", want: ErrMalformed, text: "not canonical", git: gitAccepts, why: noTree},
		{name: "tree-symlink", want: ErrNotPlain, text: "a symlink", git: gitAccepts, why: noTree},
		{name: "tree-submodule", want: ErrNotPlain, text: "a submodule", git: gitAccepts, why: noTree},
		{name: "tree-missing-blob", want: ErrNotFound, text: "blob 1111", git: gitAccepts, why: noTree},
	}
}
