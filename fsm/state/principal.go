package state

import (
	"encoding/hex"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) addPrincipal(c *command.AddPrincipal) Outcome {
	old := get[lifecycle.Principal](x, TablePrincipals, c.Principal.Name)
	switch {
	case old == nil && c.Replace:
		return refuse(PrincipalNotFound, c.Principal.Name, "no such principal to change")
	case old != nil && old.RevokedAt != 0:
		return refuse(AlreadyExists, old.Name, "a principal of this name was revoked at %s and never comes back: choose another name", old.RevokedAt)
	case old != nil && !c.Replace:
		return refuse(AlreadyExists, old.Name, "a principal of this name exists")
	case old != nil && x.consumer(old.Name) != nil:
		return refuse(IllegalTransition, old.Name, "this is the principal of a consumer, and has its keys: change those with chancery consumer register --replace")
	case old != nil && x.lastAdmin(old.Name) && !administers(c.Principal.Grants):
		return refuse(IllegalTransition, old.Name, "this is the last admin of all keys: add another admin first")
	}
	return x.writePrincipal(c.Principal)
}

// writePrincipal stores the row and the index from certificates to names.
func (x *tx) writePrincipal(r command.PrincipalRecord) Outcome {
	p := lifecycle.Principal{Name: r.Name, Kind: r.Kind, Grants: r.Grants, SSHKeys: r.SSHKeys, Certs: r.Certs, Created: x.origin()}
	kind := "principal.added"
	if old := get[lifecycle.Principal](x, TablePrincipals, r.Name); old != nil {
		kind, p.Created = "principal.changed", old.Created
		x.dropCerts(old)
		if lifecycle.GrantsLost(old.Grants, p.Grants) || missing(old.Certs, p.Certs) {
			x.openFence(kind, "", nil, p.Name)
		}
	}
	for _, hash := range p.Certs {
		if owner := get[NameRow](x, TableCerts, hash); owner != nil {
			return refuse(AlreadyExists, p.Name, "the certificate key %s belongs to %s", hash[:16], owner.Name)
		}
		put(x, TableCerts, hash, &NameRow{Name: p.Name})
	}
	put(x, TablePrincipals, p.Name, &p)
	detail := ""
	for i, g := range p.Grants {
		if i > 0 {
			detail += " "
		}
		detail += g.String()
	}
	x.record(Leaf{Kind: kind, After: p.Name, Detail: detail})
	return Outcome{Subject: p.Name}
}

// missing reports whether something of old is not in now.
func missing(old, now []string) bool {
	return slices.ContainsFunc(old, func(s string) bool { return !slices.Contains(now, s) })
}

func (x *tx) dropCerts(p *lifecycle.Principal) {
	for _, hash := range p.Certs {
		x.drop(TableCerts, hash)
	}
}

func (x *tx) revokePrincipal(c *command.RevokePrincipal) Outcome {
	old := get[lifecycle.Principal](x, TablePrincipals, c.Name)
	if old == nil {
		return refuse(PrincipalNotFound, c.Name, "no such principal")
	}
	if old.RevokedAt != 0 {
		return refuse(IllegalTransition, c.Name, "the principal was revoked at %s", old.RevokedAt)
	}
	if x.lastAdmin(c.Name) {
		return refuse(IllegalTransition, c.Name, "this is the last admin of all keys: add another admin first")
	}
	p := *old
	p.RevokedAt, p.RevokedBy = x.now(), x.head.Actor
	put(x, TablePrincipals, p.Name, &p)
	x.dropCerts(old)
	x.record(Leaf{Kind: "principal.revoked", Before: p.Name})
	x.openFence("principal.revoked", "", nil, p.Name)
	for _, t := range list[lifecycle.Token](x.hot.freeze(), TableTokens, "") {
		if t.Principal == c.Name && t.RevokedAt == 0 {
			x.endToken(t)
		}
	}
	return Outcome{Subject: c.Name}
}

// lastAdmin reports whether nobody else could administer the cluster.
func (x *tx) lastAdmin(name string) bool {
	others := false
	ascend(x.hot.freeze(), TablePrincipals, "", func(p *lifecycle.Principal) bool {
		others = p.Name != name && p.RevokedAt == 0 && administers(p.Grants)
		return !others
	})
	return !others && administers(get[lifecycle.Principal](x, TablePrincipals, name).Grants)
}

// administers reports whether the grants reach every key and the cluster itself.
func administers(grants []lifecycle.Grant) bool {
	return slices.Contains(grants, lifecycle.Grant{Role: lifecycle.Admin, Keys: "*"})
}

func (x *tx) addToken(c *command.AddToken) Outcome {
	p := get[lifecycle.Principal](x, TablePrincipals, c.Principal)
	if p == nil || p.RevokedAt != 0 {
		return refuse(PrincipalNotFound, c.Principal, "no such principal, or it was revoked")
	}
	hash := hex.EncodeToString(c.Hash)
	if get[lifecycle.Token](x, TableTokens, c.ID) != nil || get[NameRow](x, TableSecrets, hash) != nil {
		return refuse(AlreadyExists, c.ID, "a token has this id or this secret")
	}
	if c.ExpiresAt <= x.now() {
		return refuse(TokenExpired, c.ID, "the token would expire before it exists")
	}
	if most := x.now().Add(x.cluster().Settings.MaxTokenTTL); c.ExpiresAt > most {
		return refuse(Invalid, c.ID, "the token would live past %s, the longest the cluster allows", most)
	}
	put(x, TableTokens, c.ID, &lifecycle.Token{ID: c.ID, Principal: c.Principal, Hash: c.Hash, Label: c.Label, ExpiresAt: c.ExpiresAt, Created: x.origin()})
	put(x, TableSecrets, hash, &NameRow{Name: c.ID})
	x.record(Leaf{Kind: "token.created", After: c.Principal, Detail: c.ID})
	return Outcome{Subject: c.ID}
}

func (x *tx) revokeToken(c *command.RevokeToken) Outcome {
	t := get[lifecycle.Token](x, TableTokens, c.ID)
	if t == nil {
		return refuse(TokenNotFound, c.ID, "no such token")
	}
	if t.RevokedAt != 0 {
		return refuse(IllegalTransition, c.ID, "the token was revoked at %s", t.RevokedAt)
	}
	x.endToken(t)
	x.openFence("token.revoked", "", nil, t.ID)
	return Outcome{Subject: c.ID}
}

func (x *tx) endToken(old *lifecycle.Token) {
	t := *old
	t.RevokedAt = x.now()
	put(x, TableTokens, t.ID, &t)
	x.drop(TableSecrets, hex.EncodeToString(t.Hash))
	x.record(Leaf{Kind: "token.revoked", Before: t.Principal, Detail: t.ID})
}
