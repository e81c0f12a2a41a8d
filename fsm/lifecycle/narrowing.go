package lifecycle

// What follows decides whether a change takes a right to sign away. Where that is
// not plain it says yes: the price is a fence that nobody needed, not a signature
// that nobody expected.

// Narrows reports whether something could be signed under old that p refuses.
func (p Policy) Narrows(old Policy) bool {
	switch {
	case lost(old.Inputs, p.Inputs), lost(old.Types, p.Types):
		return true
	case len(p.Audiences) > 0 && (len(old.Audiences) == 0 || lost(old.Audiences, p.Audiences)):
		return true // empty = any
	case p.Issuer != "" && p.Issuer != old.Issuer:
		return true
	case p.LongestTTL() < old.LongestTTL():
		return true
	case p.losesCallers(old):
		return true
	}
	return p.Strict && !old.Strict
}

// losesCallers reports whether somebody could call under old whom p does not name.
func (p Policy) losesCallers(old Policy) bool {
	if len(p.AllowedCallers) == 0 {
		return false // anybody
	}
	if len(old.AllowedCallers) == 0 {
		return !contains(p.AllowedCallers, "*")
	}
	for _, pattern := range old.AllowedCallers {
		kept := false
		for _, now := range p.AllowedCallers {
			kept = kept || match(now, pattern) // stars taken as letters, as in Covers
		}
		if !kept {
			return true
		}
	}
	return false
}

// LongestTTL is the longest exp - iat of a token: MaxTTL, an hour when it says nothing.
func (p Policy) LongestTTL() Milliseconds {
	if p.MaxTTL == 0 {
		return Hour
	}
	return p.MaxTTL
}

func lost(old, now []string) bool {
	for _, s := range old {
		if !contains(now, s) {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, t := range list {
		if t == s {
			return true
		}
	}
	return false
}

// GrantsLost reports whether a principal with the grants old could do something
// that one with the grants now cannot.
func GrantsLost(old, now []Grant) bool {
	for _, g := range old {
		kept := false
		for _, h := range now {
			kept = kept || h.Covers(g)
		}
		if !kept {
			return true
		}
	}
	return false
}

// Covers reports whether g gives everything that h gives. Names hold no '*', so a
// pattern that matches another pattern's text, stars taken as letters, matches all
// that the other does.
func (g Grant) Covers(h Grant) bool { return g.Role == h.Role && match(g.Keys, h.Keys) }
