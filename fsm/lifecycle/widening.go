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
