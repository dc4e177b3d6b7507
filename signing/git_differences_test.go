package signing

import "regexp"

// difference is one known way in which git and we see the same bytes differently,
// and why that is so. TestFixtures holds the ones of single fixtures.
type gitDifference struct {
	// git is what git fsck --strict says ("" for an object that it takes): the
	// name of its message.
	git string
	// ours matches our own refusal; nil: we take the object.
	ours *regexp.Regexp
	why  string
}

// stricter lists what we refuse and git fsck takes.
var stricter = []gitDifference{
	{"", regexp.MustCompile(`unexpected header|want header|headers end`), "we take the headers that git writes, in its order, and no others: what one reader skips another may use"},
	{"", regexp.MustCompile(`want "Name <email> seconds zone"|want " seconds`), "git fsck bounds neither names nor what stands around the mark of an email"},
	{"", regexp.MustCompile(`time ".*": want seconds|zone ".*": want`), "git takes times behind the year 9999 and zones of any digits; we show them in formats that cannot"},
	{"", regexp.MustCompile(`encoding: |is not one word`), "git fsck does not look at the encoding"},
	{"", regexp.MustCompile(`the zero id`), "no object has it: git fsck follows it as a missing link only"},
	{"", regexp.MustCompile(`more than \d+ parents|of \d+ bytes: more than`), "sizes are bounded"},
	{"", regexp.MustCompile(`holds a NUL byte`), "git fsck finds a NUL in commits; we refuse it in tags too"},
	{"", regexp.MustCompile(`mode`), "git fsck takes 100664, which git once wrote, and no build of git writes now"},
	{"", regexp.MustCompile(`name|"\.git"|\.git`), "names that some file system folds to one of git's own, and names of other forms that nothing can deploy"},
	{"", regexp.MustCompile(`signature|armor|behind`), "a tag's signature is its end, in one piece; git fsck does not look at it"},
	{"", regexp.MustCompile(`object type|type `), "git fsck takes a tag of any type that the name of one begins"},
}

// looser lists what git fsck complains of and we take. None of it changes what
// anybody reads in the object.
var looser = []gitDifference{
	{"missingSpaceBeforeEmail", nil, "a name that is empty: we ask for the space, git for a name too"},
	{"gitmodulesSymlink", nil, "a tree is decoded whatever is in it; symbolic links are refused where they would be deployed"},
	{"gitignoreSymlink", nil, "as above: a warning about work trees, which we have none of"},
	{"gitattributesSymlink", nil, "as above"},
	{"mailmapSymlink", nil, "as above"},
	{"badTagName", nil, "git's rules for the names of refs; the name of an approval must be that of its ref, which git has checked"},
	{"missingEmail", nil, "an ident is its author's word and decides nothing"},
	{"missingNameBeforeEmail", nil, "as above"},
	{"badName", nil, "as above"},
}

// stricterOfSignatures lists what we refuse and git verify-commit takes.
var stricterOfSignatures = []gitDifference{
	{"", regexp.MustCompile(`malformed object`), "the object itself: see stricter"},
	{"", regexp.MustCompile(`armor|canonical|canonically|base64|checksum|trailing|line`), "one spelling of a signature, so that an id does not change without a key"},
	{"", regexp.MustCompile(`SHA-?1|2048|DSA|digest|hash`), "kinds of signatures that are too weak, or that we do not take"},
	{"", regexp.MustCompile(`expired|revoked`), "git judges by the time that the signature claims"},
	{"", regexp.MustCompile(`key not known|unknown key`), "git knows more keys here than the keyring does: the weak ones"},
	{"", regexp.MustCompile(`subpacket|packet|unhashed|version`), "what no signature covers must not be there"},
}
