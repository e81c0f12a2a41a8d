package lifecycle

// Widens reports whether p asks less of the key than old did: something could be
// signed, or done with its versions, that old refused or put off. Its approval rules
// are not looked at. Every field that may change freely is named here; a new one
// counts as wider until it is.
func (p Policy) Widens(old Policy) bool {
	switch {
	case old.Narrows(p): // old refuses something that p allows
		return true
	case p.Issuer != old.Issuer:
		return true
	case p.Lead < old.Lead, p.DestroyWait < old.DestroyWait, p.MinReady < old.MinReady:
		return true
	case p.VerifyWindow != old.VerifyWindow: // shorter: good signatures stop verifying; longer: a closed version is trusted on
		return true
	case p.JWKSMaxAge > old.JWKSMaxAge: // caches hold on to a revoked key longer
		return true
	case p.Overdue() != old.Overdue() && (p.Overdue() == 0 || old.Overdue() != 0 && p.Overdue() > old.Overdue()):
		return true
	case p.RotateEvery != old.RotateEvery && (p.RotateEvery == 0 || old.RotateEvery != 0 && p.RotateEvery > old.RotateEvery):
		return true
	case p.VerifyOneIn > old.VerifyOneIn:
		return true
	case p.Publish != old.Publish:
		return true
	case old.ConfirmActivate && !p.ConfirmActivate:
		return true
	case p.ConfirmWithdraw != old.ConfirmWithdraw: // as the verify window: sooner or later out of the trust set
		return true
	case p.DestroyRetired && !old.DestroyRetired:
		return true
	}
	return false
}

// Widens reports whether certificates could be issued by p that old refused. What is not
// plainly narrower counts as wider, as does any change of what certificates say; old is
// nil for a name that had no profile.
func (p *ProfileTerms) Widens(old *ProfileTerms) bool {
	if old == nil {
		return true
	}
	switch {
	case !within(p.Usage, old.Usage), !within(p.ExtendedUsage, old.ExtendedUsage), len(p.ExtendedUsage) == 0 && len(old.ExtendedUsage) > 0: // none named = good for any
		return true
	case !within(p.Keys, old.Keys), p.MaxValidity > old.MaxValidity, p.DefaultValidity > old.DefaultValidity, p.Backdate > old.Backdate:
		return true
	case p.CommonName != old.CommonName, p.NoRevocation != old.NoRevocation, p.OCSPNoCheck != old.OCSPNoCheck:
		return true
	case p.NamesOptional && !old.NamesOptional, len(p.Names) != len(old.Names): // the first rule that matches counts: one less lets the next count
		return true
	}
	for i := range p.Names {
		if p.Names[i].widens(&old.Names[i]) {
			return true
		}
	}
	return false
}

func (r *NameRule) widens(old *NameRule) bool {
	return r.Requester != old.Requester || !within(r.DNS, old.DNS) || !within(r.IPs, old.IPs) || !within(r.URIs, old.URIs) || !within(r.Emails, old.Emails)
}

// within reports whether old has everything that is in list.
func within(list, old []string) bool {
	for _, s := range list {
		if !contains(old, s) {
			return false
		}
	}
	return true
}
