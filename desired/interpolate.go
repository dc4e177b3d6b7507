package desired

import (
	"fmt"
	"strings"
)

// lookup finds a variable; false says that it is not set.
type lookup func(name string) (string, bool)

// expander replaces $VAR and ${VAR…} as compose does. compose-go's own
// function takes seconds for nested defaults of a few kilobytes and grows
// without bound when variables refer to variables; this one is linear in its
// input and shares one budget of output bytes between all calls, so that the
// work of a deployment is bounded however its variables refer to each other.
type expander struct {
	spent int // bytes of output so far, at most MaxExpandedBytes
}

// expand returns s with every reference replaced, and the names that were
// used without being set and without a default; those are empty, as in compose.
func (x *expander) expand(s string, find lookup) (out string, unset []string, err error) {
	if !strings.Contains(s, "$") {
		return s, nil, x.spend(len(s))
	}
	if n := strings.Count(s, "${"); n > MaxReferences {
		return "", nil, fmt.Errorf("%d times ${ in one value, more than the limit of %d", n, MaxReferences)
	}
	e := expansion{expander: x, find: find}
	if err := e.run(s, 0); err != nil {
		return "", nil, err
	}
	return e.out.String(), e.unset, nil
}

func (x *expander) spend(bytes int) error {
	x.spent += bytes
	if x.spent > MaxExpandedBytes {
		return fmt.Errorf("all values together expand to more than the limit of %d bytes", MaxExpandedBytes)
	}
	return nil
}

// expansion is the state of expanding one value.
type expansion struct {
	*expander
	find  lookup
	out   strings.Builder
	unset []string
}

func (e *expansion) write(s string) error {
	if err := e.spend(len(s)); err != nil {
		return err
	}
	e.out.WriteString(s)
	return nil
}

func (e *expansion) run(s string, depth int) error {
	if depth > MaxReferenceDepth {
		return fmt.Errorf("${…} nested deeper than the limit of %d", MaxReferenceDepth)
	}
	for {
		before, after, found := strings.Cut(s, "$")
		if err := e.write(before); err != nil || !found {
			return err
		}
		rest, err := e.reference(after, depth)
		if err != nil {
			return err
		}
		s = rest
	}
}

// reference expands what follows a "$" and returns the rest of the value.
func (e *expansion) reference(s string, depth int) (rest string, err error) {
	switch {
	case strings.HasPrefix(s, "$"):
		return s[1:], e.write("$")
	case strings.HasPrefix(s, "{"):
		body, rest, ok := cutBraces(s)
		if !ok {
			return "", fmt.Errorf("invalid variable: a ${ is not closed; write $$ for a plain $")
		}
		return rest, e.braced(body, depth)
	}
	name := s[:nameLength(s)]
	if name == "" {
		return s, e.write("$")
	}
	return s[len(name):], e.variable(name)
}

// variable writes the value of a variable that has no default.
func (e *expansion) variable(name string) error {
	v, ok := e.find(name)
	if !ok {
		e.unset = append(e.unset, name)
	}
	return e.write(v)
}

// braced expands the body of ${body}.
func (e *expansion) braced(body string, depth int) error {
	name := body[:nameLength(body)]
	operator, word := cutOperator(body[len(name):])
	if name == "" || operator == "" && word != "" {
		return fmt.Errorf("invalid variable %s; write $$ for a plain $", quoted("${"+body+"}"))
	}
	if operator == "" {
		return e.variable(name)
	}
	v, set := e.find(name)
	if strings.HasPrefix(operator, ":") && v == "" {
		set = false
	}
	switch operator[len(operator)-1] {
	case '-':
		if !set {
			return e.run(word, depth+1)
		}
	case '+':
		if set {
			return e.run(word, depth+1)
		}
		v = ""
	case '?':
		if !set {
			message := fmt.Sprintf("required variable %s is missing a value", cut(name, maxQuoted))
			if word != "" {
				message += ": " + quoted(word)
			}
			return fmt.Errorf("%s", message)
		}
	}
	return e.write(v)
}

// cutBraces splits "{body}rest", counting the braces inside the body.
func cutBraces(s string) (body, rest string, ok bool) {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return s[1:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}

// cutOperator splits ":-word"; operator is "" when there is none.
func cutOperator(s string) (operator, word string) {
	end := 0
	if strings.HasPrefix(s, ":") {
		end = 1
	}
	if end < len(s) && strings.IndexByte("-+?", s[end]) >= 0 {
		return s[:end+1], s[end+1:]
	}
	return "", s
}

// nameLength is the length of the variable name that s starts with.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}
