package wire

import "net/url"

// Paths of the API listener. Those with {name} are patterns of http.ServeMux.
const (
	PathKeys           = "/v1/keys"
	PathKey            = "/v1/keys/{name}"
	PathVersions       = "/v1/keys/{name}/versions"
	PathHistory        = "/v1/keys/{name}/history"
	PathPolicy         = "/v1/keys/{name}/policy"
	PathExport         = "/v1/keys/{name}/export" // JWKS of everything, published or not
	PathConfirmPurpose = "/v1/keys/{name}/confirm"
	PathRotate         = "/v1/keys/{name}/rotate"
	PathActivate       = "/v1/keys/{name}/activate"
	PathSuspend        = "/v1/keys/{name}/suspend"
	PathResume         = "/v1/keys/{name}/resume"
	PathDeactivate     = "/v1/keys/{name}/deactivate"
	PathRevoke         = "/v1/keys/{name}/revoke"
	PathDestroy        = "/v1/keys/{name}/destroy"
	PathReplace        = "/v1/keys/{name}/replace"

	PathRotations      = "/v1/rotations"
	PathRotation       = "/v1/rotations/{name}"
	PathPauseRotation  = "/v1/keys/{name}/rotation/pause"
	PathResumeRotation = "/v1/keys/{name}/rotation/resume"
	PathSkipGate       = "/v1/keys/{name}/rotation/skip"
	PathRollBack       = "/v1/keys/{name}/rotation/rollback"

	PathSign   = "/v1/keys/{name}/sign"
	PathJWT    = "/v1/keys/{name}/jwt"
	PathVerify = "/v1/keys/{name}/verify"

	PathPrincipals      = "/v1/principals"
	PathPrincipal       = "/v1/principals/{name}"
	PathRevokePrincipal = "/v1/principals/{name}/revoke"
	PathTokens          = "/v1/tokens"
	PathToken           = "/v1/tokens/{name}"
	PathRevokeToken     = "/v1/tokens/{name}/revoke"

	PathChallenge = "/v1/login/challenge"
	PathLogin     = "/v1/login"
	PathWhoAmI    = "/v1/auth/whoami"
	PathCanI      = "/v1/auth/can-i"

	PathNodes          = "/v1/nodes"
	PathNode           = "/v1/nodes/{name}"
	PathJoinTokens     = "/v1/node-tokens"
	PathPromote        = "/v1/nodes/{name}/promote"
	PathQuarantine     = "/v1/nodes/{name}/quarantine"
	PathUnseal         = "/v1/nodes/{name}/unseal"
	PathRemoveNode     = "/v1/nodes/{name}/remove"
	PathRebuild        = "/v1/nodes/{name}/rebuild"
	PathReprovision    = "/v1/nodes/{name}/reprovision"
	PathTransferLeader = "/v1/cluster/transfer-leader"
	PathCluster        = "/v1/cluster"
	PathRotateGossip   = "/v1/cluster/rotate-gossip-key"

	PathConsumers       = "/v1/consumers"
	PathConsumer        = "/v1/consumers/{name}"
	PathRetireConsumer  = "/v1/consumers/{name}/retire"
	PathEnrolConsumer   = "/v1/consumers/{name}/enrol"
	PathCanaryChallenge = "/v1/consumers/{name}/challenge" // ?key= and &instance=
	PathConfirmations   = "/v1/consumers/{name}/confirmations"
	PathWaiveConsumer   = "/v1/consumers/{name}/waive"

	PathIssuers             = "/v1/issuers"
	PathIssuer              = "/v1/issuers/{name}"
	PathIssuerTerms         = "/v1/issuers/{name}/terms"
	PathImportCACert        = "/v1/issuers/{name}/import"
	PathIssuerRequest       = "/v1/issuers/{name}/csr"
	PathAffected            = "/v1/issuers/{name}/affected" // ?node=
	PathIssueCertificate    = "/v1/issuers/{name}/certificates"
	PathCertificates        = "/v1/certificates"
	PathCertificate         = "/v1/certificates/{name}" // a serial
	PathRevokeCertificates  = "/v1/revocations/certificates"
	PathReleaseCertificates = "/v1/releases/certificates"
	PathRenewCertificate    = "/v1/certificates/{name}/renew"
	PathRevokeCertificate   = "/v1/certificates/{name}/revoke"
	PathProfiles            = "/v1/profiles"
	PathProfile             = "/v1/profiles/{name}"
	PathDropProfile         = "/v1/profiles/{name}/drop"

	PathProposals        = "/v1/proposals"
	PathProposal         = "/v1/proposals/{name}"
	PathStatement        = "/v1/proposals/{name}/statement" // the exact bytes that approvers sign
	PathApprove          = "/v1/proposals/{name}/approve"
	PathReject           = "/v1/proposals/{name}/reject"
	PathWithdrawProposal = "/v1/proposals/{name}/withdraw"

	PathOperations      = "/v1/operations"
	PathOperation       = "/v1/operations/{name}"
	PathEvents          = "/v1/events"
	PathLog             = "/v1/log"
	PathLogProof        = "/v1/log/proof"
	PathAudit           = "/v1/audit"
	PathAuditCheck      = "/v1/audit/check"
	PathStatus          = "/v1/status"
	PathInventory       = "/v1/reports/inventory"
	PathRotationReport  = "/v1/reports/rotation"
	PathDependents      = "/v1/reports/dependents/{name}"
	PathSignatureReport = "/v1/reports/signatures/{name}"
	PathSnapshot        = "/v1/snapshot"
	PathOpenAPI         = "/v1/openapi.json"
)

// Paths of the public listener.
const (
	PathWellKnownJWKS = "/.well-known/jwks.json"
	PathKeyJWKS       = "/keys/{name}/jwks.json"
	PathTrustSet      = "/keys/{name}/trust-set" // the JWK Set, signed
	PathKeyFile       = "/keys/{name}/{file}"    // {kid}.pem; the pattern catches what is not jwks.json
	PathKeyStatus     = "/status/keys/{name}"
	PathKIDStatus     = "/status/kid/{kid}"
	PathCheckpoint    = "/log/checkpoint"
	PathTile          = "/log/tile/{tile...}"
	PathCertStatus    = "/status/certificates/{serial}"
	PathIssuerFile    = "/issuers/{name}/{file}" // {kid}.crt, chain.pem
	PathRoots         = "/roots.pem"
	PathCRL           = "/crl/{name}/{file}" // {kid}.crl, and {kid}.{shard}.crl
	PathOCSP          = "/ocsp"              // POST; GET with the request in base64 behind it
	PathLive          = "/livez"
	PathReady         = "/readyz"
)

// Query parameters.
const (
	QueryPlan     = "plan"     // true: change nothing, answer what would happen
	QueryLimit    = "limit"    // items of a page, at most MaxListLimit
	QueryCursor   = "cursor"   // Next of the page before
	QuerySelector = "selector" // of labels: "team=rel,tier!=dev,team"
	QueryWait     = "wait"     // a level of an operation; a length of time for events
	QueryWithin   = "within"   // how long to hold the request for that level, "30s"
	QueryFrom     = "from"     // events after this position; log leaves from this number
	QueryLeaf     = "leaf"     // number of a leaf whose place in the log is to be proven
	QueryOldSize  = "old_size" // of a log that this one is to be proven an extension of
	QueryKey      = "key"
	QueryInstance = "instance" // label of a consumer's instance
	QueryVersion  = "version"
	QueryKID      = "kid"
	QueryNode     = "node"
	QueryKind     = "kind"
	QueryState    = "state"
	QueryPurpose  = "purpose"
	QueryOwner    = "owner"
	QueryActor    = "principal"
	QuerySince    = "since"       // RFC 3339, at or after
	QueryUntil    = "until"       // RFC 3339, before
	QueryNonce    = "nonce"       // of a signed answer, made by who asks
	QueryBreak    = "break_glass" // why a change must not wait for the approvals it needs
	QueryIssuer   = "issuer"
	QueryProfile  = "profile"
	QueryName     = "subject" // any name in a certificate, '*' for any run of characters
	QueryExpires  = "expires_before"
	QuerySerials  = "serials" // of certificates, with commas between them; at most MaxSerials
	QueryFormat   = "format"  // of an export: pem, der, jwks, ssh; of a report: json, csv
)

// Path fills the one {name} of a pattern.
func Path(pattern, name string) string {
	const hole = "{name}"
	for i := 0; i+len(hole) <= len(pattern); i++ {
		if pattern[i:i+len(hole)] == hole {
			return pattern[:i] + url.PathEscape(name) + pattern[i+len(hole):]
		}
	}
	return pattern
}
