package signing

import "regexp"

// gitDifference is one known way in which git and we see the same bytes
// differently, with an object that shows it. The differences over signatures
// stand in fixtureTable.
type gitDifference struct {
	// git is the name of what git fsck --strict says; "" for an object that it
	// takes.
	git string
	// ours matches our own refusal; nil: we take the object.
	ours *regexp.Regexp
	why  string
	// example is an object of a kind that differs so.
	example Object
}

// Parts of examples: a commit's headers, and a tag's.
const (
	anyTree   = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	anyIdent  = "A <a@example.com> 1777636800 +0000\n"
	anyCommit = anyTree + "author " + anyIdent + "committer " + anyIdent
	anyTag    = "object 1111111111111111111111111111111111111111\ntype commit\ntag approve/shop/1\ntagger " + anyIdent
)

func exampleOf(kind ObjectType, data string) Object { return Object{Type: kind, Data: []byte(data)} }

// gitDifferences are all differences between the strict decoders and git fsck
// --strict.
var gitDifferences = []gitDifference{
	{"", regexp.MustCompile(`unexpected header|headers end in the middle`),
		"headers are those that git writes, in its order, up to an empty line: what one reader skips another may use",
		exampleOf(CommitObject, anyCommit+"x-note hello\n\nmessage\n")},
	{"", regexp.MustCompile(`want lower-case hexadecimal digits`),
		"git reads ids in capitals too; an id has one spelling",
		exampleOf(CommitObject, "tree 4B825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor "+anyIdent+"committer "+anyIdent+"\nmessage\n")},
	{"", regexp.MustCompile(`the zero id`),
		"no object has it: git follows it as a link that leads nowhere",
		exampleOf(TagObject, "object 0000000000000000000000000000000000000000\ntype commit\ntag t\ntagger "+anyIdent+"\nmessage\n")},
	{"", regexp.MustCompile(`time ".*": want seconds|zone ".*": want`),
		"times behind the year 9999, and zones that no clock has, cannot be shown in the formats that people read",
		exampleOf(CommitObject, anyTree+"author A <a@example.com> 99999999999999 +0000\ncommitter "+anyIdent+"\nmessage\n")},
	{"", regexp.MustCompile(`encoding: `),
		"git does not look at the encoding's name; it is one word",
		exampleOf(CommitObject, anyCommit+"encoding no word\n\nmessage\n")},
	{"", regexp.MustCompile(`tag holds a NUL byte`),
		"git looks for a NUL in commits; readers that stop there see another tag as well",
		exampleOf(TagObject, anyTag+"\nmess\x00age\n")},
	{"", regexp.MustCompile(`more than one armored block`),
		"a tag's signature is its end, in one piece; git does not look at it here",
		exampleOf(TagObject, anyTag+"\nmessage\n"+sshBegin+sshEnd+pgpBegin+pgpEnd)},
	{"", regexp.MustCompile(`tag: ".*" is not one word`),
		"git takes names of any letters; the units that an approval names are plain ones",
		exampleOf(TagObject, "object 1111111111111111111111111111111111111111\ntype commit\ntag \u00e1pprove/shop/1\ntagger "+anyIdent+"\nmessage\n")},
	{"", regexp.MustCompile(`tree entry mode ".*" is not canonical`),
		"git reads the low bits of a mode and passes over the rest; a mode has one spelling",
		exampleOf(TreeObject, "1100644 a\x00aaaaaaaaaaaaaaaaaaaa")},
	{"badTagName", nil,
		"no ref can have this name, and an approval's name must be that of its ref",
		exampleOf(TagObject, "object 1111111111111111111111111111111111111111\ntype commit\ntag approve/sh..op/1\ntagger "+anyIdent+"\nmessage\n")},
	{"gitmodulesSymlink", nil,
		"a tree is decoded whatever its entries are; a symbolic link is refused where it would be deployed",
		exampleOf(TreeObject, "120000 .gitmodules\x00aaaaaaaaaaaaaaaaaaaa")},
}

// signatureDifference is one that no fixture shows: git takes the fixture's
// signature in another spelling.
type signatureDifference struct {
	ours     *regexp.Regexp
	why      string
	fixture  string
	old, new string // of the first place where old stands
}

// signatureDifferences are those between Keyring.Verify and git verify-commit
// that are not in fixtureTable.
var signatureDifferences = []signatureDifference{
	{regexp.MustCompile(`illegal base64 data`), "ssh-keygen and gpg pass over what is no base64, such as blanks: the id could be changed without the key",
		"ssh-ed25519", "\n U1NIU0lH", "\n U1NI\tU0lH"},
	{regexp.MustCompile(`commit holds a NUL byte`), "gpg passes over what stands behind an armor's last line, and git over the rest of that; readers that stop at a NUL see another commit",
		"openpgp-ed25519", "-----END PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----a\x00b\n"},
}
