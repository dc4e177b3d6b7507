package desired

import "fmt"

// The helpers of this file read the closed schemas of jaco.yaml and
// cluster.yaml: each reports what is wrong and returns false.

// fields calls the function of each key of a mapping; a key without one is an
// unknown field.
func (r *report) fields(v *value, name string, known map[string]func(e entry, name string)) bool {
	if v.shape != mapping {
		r.addf(v.line, name, "must be a mapping")
		return false
	}
	for _, e := range v.entries {
		if read := known[e.key]; read != nil {
			read(e, join(name, e.key))
		} else {
			r.addf(e.line, join(name, e.key), "unknown field")
		}
	}
	return true
}

// text reads a string; it must not be empty.
func (r *report) text(v *value, name string) (string, bool) {
	s, ok := v.scalar.(string)
	if v.shape != scalar || !ok || s == "" {
		r.addf(v.line, name, "must be a text")
		return "", false
	}
	return s, true
}

// texts checks a list of strings.
func (r *report) texts(v *value, name string) bool {
	if v.shape != list {
		r.addf(v.line, name, "must be a list")
		return false
	}
	all := true
	for i, item := range v.items {
		_, ok := r.text(item, fmt.Sprintf("%s[%d]", name, i))
		all = all && ok
	}
	return all
}

// integer reads a whole number within bounds.
func (r *report) integer(v *value, name string, least, most int) (int, bool) {
	n, ok := v.scalar.(int)
	if v.shape != scalar || !ok || n < least || n > most {
		r.addf(v.line, name, "must be a whole number from %d to %d", least, most)
		return 0, false
	}
	return n, true
}
